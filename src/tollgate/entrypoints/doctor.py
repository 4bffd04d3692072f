"""The doctor: looks at a whole database and says what in the books contradicts itself. Reads, and changes nothing.

Every slice brings the checks of its own tables. All of them see one snapshot, so what is admitted, settled or closed
meanwhile contradicts nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy import Row

from tollgate.accounts import service as accounts
from tollgate.infra import migrations
from tollgate.infra.database import Database, ReadSession
from tollgate.invoices import proofs as invoices
from tollgate.kit.checks import Check, Severity
from tollgate.kit.ids import OrganizationId
from tollgate.kit.money import amount_text
from tollgate.ledger import proofs as ledger
from tollgate.metering import proofs as metering
from tollgate.payments import proofs as payments
from tollgate.statistics import proofs as statistics

CHECKS: Sequence[Check] = (*ledger.CHECKS, *metering.CHECKS, *invoices.CHECKS, *payments.CHECKS, *statistics.CHECKS)
"""Everything that is looked at, in order."""

FINDINGS_MAX = 20
"""How many discrepancies of one check are told, unless somebody asks for more; the others are counted."""

Progress = Callable[[Check], None]
"""Called with each check before it begins."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One discrepancy: what it is about, in words, and how it was expected and found; amounts are decimal strings."""

    organization_id: OrganizationId | None
    """`None` where it is about the whole installation."""
    what: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found: the first discrepancies, and how many there are in all."""

    check: Check
    findings: tuple[Finding, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found: one result for each check, also of those that found nothing."""

    results: tuple[Result, ...]

    @property
    def whole(self) -> bool:
        """Whether no check found an error; warnings and notes do not count."""
        return not self.of(Severity.ERROR)

    def of(self, severity: Severity) -> tuple[Result, ...]:
        """The results of this severity that found something."""
        return tuple(result for result in self.results if result.findings and result.check.severity is severity)

    @property
    def complaints(self) -> tuple[str, ...]:
        """The names of the checks that found something, notes and warnings included."""
        return tuple(result.check.name for result in self.results if result.findings)


def _quietly(check: Check) -> None:
    """Report no progress."""


async def examine(
    database: Database,
    *,
    organization_id: OrganizationId | None = None,
    findings_max: int = FINDINGS_MAX,
    progress: Progress = _quietly,
) -> Report:
    """Check the books of one organization, or of the whole database, in one read-only snapshot.

    Raises:
        SchemaMismatch: the schema is not the one these checks were written for.
        NotFound: there is no such organization.
    """
    async with database.read() as session:
        await _require_current_schema(session)
        if organization_id is not None:
            await accounts.get_organization(session, organization_id)
        # As long as it takes: sums over everything there is.
        await session.execute(sa.text("SET LOCAL statement_timeout = 0"))
        await session.execute(sa.text("SET LOCAL work_mem = '64MB'"))
        await session.execute(sa.text("SET LOCAL timezone = 'UTC'"))
        return await examine_snapshot(
            session, organization_id=organization_id, findings_max=findings_max, progress=progress
        )


async def _require_current_schema(session: ReadSession) -> None:
    """Refuse a schema that is older or newer than this program.

    Raises:
        SchemaMismatch: it is, or there is none; the message says what to do.
    """
    applied = None
    if await session.scalar(sa.text("SELECT to_regclass('alembic_version')")) is not None:
        applied = await session.scalar(sa.text("SELECT version_num FROM alembic_version"))
    migrations.require_head(applied)


async def examine_snapshot(
    session: ReadSession,
    *,
    organization_id: OrganizationId | None = None,
    findings_max: int = FINDINGS_MAX,
    progress: Progress = _quietly,
) -> Report:
    """Check the books as this session's transaction sees them; they are consistent if its isolation is."""
    results = []
    for check in CHECKS:
        progress(check)
        rows = await session.execute(
            _contradictions(check), {"organization_id": organization_id, "findings_max": findings_max}
        )
        results.append(_result(check, rows.all()))
    return Report(tuple(results))


def _contradictions(check: Check) -> sa.TextClause:
    """The statement that answers some of what contradicts the check, and with each row how many there are in all.

    A check that asks for one organization alone lets the database look at no other: the condition moves inwards.
    """
    statement = sa.text(
        f"""
        SELECT organization_id, what, expected, found, count(*) OVER () AS total
        FROM ({check.sql}) AS contradictions (organization_id, what, expected, found)
        WHERE :organization_id IS NULL OR organization_id = :organization_id
        ORDER BY organization_id, what
        LIMIT :findings_max
        """
    )
    return statement.bindparams(sa.bindparam("organization_id", type_=sa.Uuid))


def _result(check: Check, rows: Sequence[Row[tuple[object, ...]]]) -> Result:
    findings = tuple(Finding(row.organization_id, row.what, _text(row.expected), _text(row.found)) for row in rows)
    return Result(check, findings, rows[0].total if rows else 0)


def _text(figure: Decimal | int | str | None) -> str:
    if figure is None:
        return "nothing"
    return amount_text(figure) if isinstance(figure, Decimal) else str(figure)
