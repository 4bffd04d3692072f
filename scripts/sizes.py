"""Checks what the linters cannot: sizes, names and habits that keep the tree readable, and floats kept out of money.

`scripts/sizes.py [ROOT]` prints one line per violation, `path:line: what is wrong`, and fails if there is any.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
PARAMETERS_MAX = 6
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "base", "manager"}
EXACT_SLICES = {"kit", "pricing", "ledger", "metering", "invoices", "payments", "rerating"}
"""Where money and tokens are reckoned, and no float may appear."""

_REASONED_TYPE_IGNORE = re.compile(r"type: ignore\[[\w-]+(, ?[\w-]+)*\]\s+# \S")
_REASONED_NOQA = re.compile(r"noqa: [A-Z]+\d+(, ?[A-Z]+\d+)* - \S")
_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")
_REMARKABLE = re.compile(f"type: ignore|noqa|{_UNFINISHED.pattern}")
_INDENTED_IMPORT = re.compile(r"^\s+(import|from)\s|:\s*(import|from)\s|;\s*(import|from)\s", re.MULTILINE)

Finding = tuple[int, str]


@dataclass(frozen=True)  # without slots, for what is worked out once
class Module:
    """One Python file: its path relative to the root, its text and its syntax tree."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def slice_name(self) -> str | None:
        """The package of `src/tollgate` it belongs to; `None` for everything else."""
        parts = self.path.parts
        return parts[2].removesuffix(".py") if parts[:2] == ("src", "tollgate") else None

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Everything in it, walked through once."""
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method, nested ones too."""
        return [node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    @cached_property
    def comments(self) -> list[tuple[int, str]]:
        """The comments that a rule may have something to say about, and their lines."""
        if not _REMARKABLE.search(self.text):
            return []
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    found = list(violations(root))
    for line in found:
        print(line)
    return 1 if found else 0


def violations(root: Path) -> Iterator[str]:
    """Every violation beneath the root, in the order of the files."""
    modules = [
        _read(path, root) for folder in ("src", "scripts", "migrations", "tests") for path in _files(root / folder)
    ]
    for module in modules:
        for rule in (*EVERYWHERE, *(OUTSIDE_TESTS if module.path.parts[0] != "tests" else ())):
            for line, what in rule(module):
                yield f"{module.path}:{line}: {what}"
    yield from _rules_without_laws(root)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _read(path: Path, root: Path) -> Module:
    text = path.read_text()
    return Module(path.relative_to(root), text, ast.parse(text, str(path)))


def file_length(module: Module) -> Iterator[Finding]:
    lines = module.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield lines, f"the file has {lines} lines; {FILE_LINES_MAX} are the most"


def function_length(module: Module) -> Iterator[Finding]:
    for function in module.functions:
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield function.lineno, f"{function.name} has {lines} lines; {FUNCTION_LINES_MAX} are the most"


def parameters(module: Module) -> Iterator[Finding]:
    for function in module.functions:
        given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        count = len([argument for argument in given if argument.arg not in {"self", "cls"}])
        if count > PARAMETERS_MAX:
            yield function.lineno, f"{function.name} takes {count} parameters; {PARAMETERS_MAX} are the most"


def module_name(module: Module) -> Iterator[Finding]:
    for part in (*module.path.parent.parts, module.path.stem):
        if part in FORBIDDEN_NAMES:
            yield 1, f"{part!r} names no content; say what it holds"


def imports_in_functions(module: Module) -> Iterator[Finding]:
    if not _INDENTED_IMPORT.search(module.text):
        return
    for function in module.functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield node.lineno, f"{function.name} imports inside its body"


def bare_exceptions_to_the_checks(module: Module) -> Iterator[Finding]:
    for line, comment in module.comments:
        if "type: ignore" in comment and not _REASONED_TYPE_IGNORE.search(comment):
            yield line, "write `# type: ignore[code]  # reason`"
        if "noqa" in comment and not _REASONED_NOQA.search(comment):
            yield line, "write `# noqa: CODE - reason`"


def unfinished_work(module: Module) -> Iterator[Finding]:
    for line, comment in module.comments:
        if _UNFINISHED.search(comment):
            yield line, "finish it, or open an issue"


def broad_excepts(module: Module) -> Iterator[Finding]:
    if module.slice_name in {None, "entrypoints"}:
        return
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node) and not _raises_again(node):
            yield node.lineno, "only the entrypoints may catch everything"


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or not _names(handler.type).isdisjoint({"Exception", "BaseException"})


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _names(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def module_docstring(module: Module) -> Iterator[Finding]:
    if ast.get_docstring(module.tree) is None:
        yield 1, "say in a docstring what flows through this module"


def floats(module: Module) -> Iterator[Finding]:
    if module.slice_name not in EXACT_SLICES:
        return
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, f"{node.value} is a float; money and tokens are exact"
        if isinstance(node, ast.Name) and node.id == "float":
            yield node.lineno, "float has no place near money and tokens"


EVERYWHERE: tuple[Callable[[Module], Iterator[Finding]], ...] = (
    file_length,
    function_length,
    module_name,
    bare_exceptions_to_the_checks,
    unfinished_work,
)
OUTSIDE_TESTS: tuple[Callable[[Module], Iterator[Finding]], ...] = (
    parameters,
    imports_in_functions,
    broad_excepts,
    module_docstring,
    floats,
)


def _rules_without_laws(root: Path) -> Iterator[str]:
    for rules in sorted((root / "src" / "tollgate").glob("*/rules*")):
        tests = root / "tests" / rules.parent.name
        written = [*tests.glob("test_rules*.py"), *tests.glob("test_*_laws.py"), *tests.glob("rules/test_*.py")]
        if not any("@given(" in test.read_text() for test in written):
            yield f"{rules.relative_to(root)}:1: no law in {tests.relative_to(root)}/test_rules.py (Hypothesis, @given)"


if __name__ == "__main__":
    sys.exit(main())
