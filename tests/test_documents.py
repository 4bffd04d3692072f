"""What the documents name is there: every path, every link, every function, and every import rule they quote."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tollgate.entrypoints import doctor
from tollgate.infra.migrations import ROOT

DOCUMENTS = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
SECTIONS = ("Context", "Decision", "Consequences", "Alternatives", "Enforced by")
PLACES = (ROOT, ROOT / "src" / "tollgate")
PATH = re.compile(r"`([\w.-]+/(?:[\w.-]+/)*(?:[\w-]+\.\w+)?)`")
FUNCTION = re.compile(r"`(?:[\w.]+\.)?(\w+)\(\)`")
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
METRIC = re.compile(r'"(tollgate_[a-z_]+)"')
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


@pytest.fixture(scope="module")
def code() -> str:
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "migrations").rglob("*.py"), *(ROOT / "migrations").rglob("*.sql")]
    return "\n".join(path.read_text() for path in files)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_and_link_leads_somewhere(document: Path) -> None:
    text = document.read_text()

    missing = [path for path in PATH.findall(text) if not any((place / path).exists() for place in PLACES)]
    missing += [target for target in LINK.findall(text) if not (document.parent / target).exists()]
    assert [path for path in missing if not path.startswith(".tollgate/")] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_function_it_names_exists(document: Path, code: str) -> None:
    named = set(FUNCTION.findall(document.read_text()))

    assert {name for name in named if not re.search(rf"\b(?:def|FUNCTION|class) {name}\(", code)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_it_names_exists(document: Path) -> None:
    missing = [
        (place, name)
        for place, name in TEST.findall(document.read_text())
        if not (ROOT / place).is_file() or (name and f"def {name}(" not in (ROOT / place).read_text())
    ]
    assert missing == []


def test_every_metric_is_explained_to_whoever_is_on_call(code: str) -> None:
    explained = (ROOT / "docs" / "operating.md").read_text()

    assert [name for name in METRIC.findall(code) if f"`{name}`" not in explained] == []


def test_the_readme_leads_to_every_page() -> None:
    led_to = set(LINK.findall((ROOT / "README.md").read_text()))

    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - led_to == set()


def test_the_order_of_packages_is_the_one_that_is_enforced() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (stack,) = (contract["layers"] for contract in linter["contracts"] if contract["id"] == "stack")

    told = re.findall(r"Imports only fall: `([^`]+)`", (ROOT / "docs" / "ARCHITECTURE.md").read_text())
    assert [" ".join(each.split()) for each in told] == [" > ".join(stack)]


def test_no_noun_of_the_glossary_is_explained_twice() -> None:
    glossary = (ROOT / "docs" / "ARCHITECTURE.md").read_text().partition("## Glossary")[2]
    nouns = Counter(noun for row in re.findall(r"^\| ([^|]+) \|", glossary, re.MULTILINE) for noun in row.split(", "))

    assert [noun for noun, rows in nouns.items() if rows > 1] == []


def test_every_check_of_the_doctor_is_explained() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "doctor.md").read_text(), re.MULTILINE)
    explained = set()
    for first, *others in (row.split(", ") for row in rows):
        words = first.split()
        # "credit note lines, rounding" are both of credit notes.
        explained |= {first, *(" ".join([*words[:n], other]) for other in others for n in range(len(words)))}

    assert {check.name for check in doctor.CHECKS} - explained == set()


def test_every_failure_is_held_by_a_test() -> None:
    text = (ROOT / "docs" / "failures.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| what must not")]
    assert [row for row in rows if len(TEST.findall(row)) != 1] == []


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.name)
def test_every_decision_has_the_same_parts_and_one_line_to_quote(decision: Path) -> None:
    text = decision.read_text()

    assert re.match(rf"# {int(decision.name[:4])}\. ", text)
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == SECTIONS
    quoted = text.partition("## Decision\n")[2].partition("## ")[0]
    assert len(re.findall(r"(?:^> .*\n)+", quoted, re.MULTILINE)) == 1


def test_decisions_are_numbered_without_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_every_dependency_has_its_reason() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    reasons = (ROOT / "docs" / "decisions" / "0012-dependencies.md").read_text()
    rows = "\n".join(line.split("|")[1] for line in reasons.splitlines() if line.startswith("| `"))

    assert set(re.findall(r"`([\w-]+)`", rows)) == {re.split(r"[\[><=]", each)[0] for each in declared}
