"""The tree keeps its sizes and habits, and `scripts/sizes.py` notices when it does not."""

import subprocess
import sys
from pathlib import Path

import pytest
from scripts.sizes import violations

BREACHES = {
    "a long file": ("src/tollgate/keys/store.py", '"""Doc."""\n' + "X = 1\n" * 401, "402 lines; 400 are the most"),
    "a long function": ("src/tollgate/keys/a.py", '"""Doc."""\ndef f():\n' + "    x = 1\n" * 50, "f has 51 lines"),
    "a long test": ("tests/keys/test_a.py", "def test_f():\n" + "    x = 1\n" * 50, "test_f has 51 lines"),
    "many parameters": (
        "src/tollgate/keys/a.py",
        '"""Doc."""\ndef f(a, b, c, d, *, e, g, h): ...\n',
        "f takes 7 parameters",
    ),
    "a drawer": ("src/tollgate/keys/utils.py", '"""Doc."""\n', "'utils' names no content"),
    "a drawer of drawers": ("src/tollgate/helpers/a.py", '"""Doc."""\n', "'helpers' names no content"),
    "a lazy import": ("src/tollgate/keys/a.py", '"""Doc."""\ndef f():\n    import os\n', "f imports inside its body"),
    "a bare type: ignore": ("src/tollgate/keys/a.py", '"""Doc."""\nx = y  # type: ignore\n', "type: ignore[code]"),
    "an unreasoned type: ignore": ("tests/a.py", '"""Doc."""\nx = y  # type: ignore[misc]\n', "# reason"),
    "a bare noqa": ("scripts/a.py", '"""Doc."""\nx = y  # noqa\n', "noqa: CODE - reason"),
    "an unreasoned noqa": ("migrations/a.py", '"""Doc."""\nx = y  # noqa: E501\n', "noqa: CODE - reason"),
    "a promise": ("src/tollgate/keys/a.py", f'"""Doc."""\n# {"TO"}DO: later\n', "finish it, or open an issue"),
    "except Exception": (
        "src/tollgate/keys/a.py",
        '"""Doc."""\ntry:\n    f()\nexcept (OSError, Exception):\n    pass\n',
        "only the entrypoints may catch everything",
    ),
    "a bare except": (
        "src/tollgate/infra/a.py",
        '"""Doc."""\ntry:\n    f()\nexcept:\n    pass\n',
        "only the entrypoints may catch everything",
    ),
    "a silent module": ("src/tollgate/keys/__init__.py", "X = 1\n", "what flows through this module"),
    "a float": ("src/tollgate/metering/a.py", '"""Doc."""\nx = 0.1\n', "0.1 is a float"),
    "a conversion to float": ("src/tollgate/kit/a.py", '"""Doc."""\nx = float("1")\n', "float has no place near money"),
    "rules without a law": ("src/tollgate/keys/rules.py", '"""Doc."""\n', "no law in tests/keys/test_rules.py"),
}
"""What to plant: the file, its text, and a part of what must be said about it."""

ALLOWED = {
    "a cleanup that raises again": (
        "src/tollgate/keys/a.py",
        '"""Doc."""\ntry:\n    f()\nexcept BaseException:\n    g()\n    raise\n',
    ),
    "a catch-all at the edge": (
        "src/tollgate/entrypoints/a.py",
        '"""Doc."""\ntry:\n    f()\nexcept Exception:\n    pass\n',
    ),
    "a duration": ("src/tollgate/gateway/a.py", '"""Doc."""\nx = 0.1\n'),
    "a reasoned exception": ("src/tollgate/keys/a.py", '"""Doc."""\nx = y  # type: ignore[misc]  # y is odd\n'),
}


def sizes(tree: Path) -> str:
    """Everything it says of a tree."""
    return "\n".join(violations(tree))


def plant(tree: Path, file: str, text: str) -> None:
    (tree / file).parent.mkdir(parents=True)
    (tree / file).write_text(text)


def test_a_breach_fails_the_script(repository: Path, tmp_path: Path) -> None:
    plant(tmp_path, *BREACHES["a float"][:2])
    command = [sys.executable, str(repository / "scripts" / "sizes.py"), str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout.count("\n")) == (1, 1)


@pytest.mark.parametrize("breach", BREACHES)
def test_a_planted_breach_is_noticed(tmp_path: Path, breach: str) -> None:
    file, text, expected = BREACHES[breach]
    plant(tmp_path, file, text)
    said = sizes(tmp_path)
    assert said.startswith(file)
    assert expected in said


@pytest.mark.parametrize("habit", ALLOWED)
def test_what_is_sound_passes(tmp_path: Path, habit: str) -> None:
    file, text = ALLOWED[habit]
    plant(tmp_path, file, text)
    assert sizes(tmp_path) == ""
