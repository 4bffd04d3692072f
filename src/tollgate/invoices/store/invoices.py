"""All SQL of invoices."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import QueryableAttribute, defer
from sqlmodel import col

from tollgate.accounts.model import BillingMode, Organization
from tollgate.agreements.model import TaxTreatment
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.acts import ActKind
from tollgate.invoices.model import (
    Adjusted,
    Agreed,
    Heading,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Line,
    LineType,
    Month,
    PricedUsage,
    Tax,
    Totals,
    Window,
)
from tollgate.invoices.tables import InvoiceActRow, InvoiceLineRow, InvoiceRow, InvoiceSeriesRow
from tollgate.kit.ids import InvoiceId, OrganizationId
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import Unit

# Documents are long, and only who reads a whole invoice reads its document.
_HEADINGS = sa.select(InvoiceRow).options(defer(cast("QueryableAttribute[str]", InvoiceRow.document), raiseload=True))


async def invoice(session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> Invoice | None:
    """The organization's issued invoice with this id."""
    # The session may have read the heading before, without the document.
    row = await session.get(InvoiceRow, (organization_id, invoice_id), populate_existing=True)
    if row is None:
        return None
    lines = await session.execute(
        sa.select(InvoiceLineRow)
        .where(col(InvoiceLineRow.organization_id) == organization_id, col(InvoiceLineRow.invoice_id) == invoice_id)
        .order_by(col(InvoiceLineRow.n))
    )
    return Invoice(_heading(row), tuple(_line(line) for line in lines.scalars()), unpriced=(), document=row.document)


async def invoice_of(session: ReadSession, organization: Organization, month: Month) -> Invoice | None:
    """The organization's issued invoice of the month in its currency: the one that is not void."""
    found = await session.execute(
        sa.select(col(InvoiceRow.id)).where(
            col(InvoiceRow.organization_id) == organization.id,
            col(InvoiceRow.currency) == organization.currency,
            col(InvoiceRow.month) == month.name,
            col(InvoiceRow.kind) == InvoiceKind.USAGE,
            col(InvoiceRow.status) != InvoiceStatus.VOID,
        )
    )
    invoice_id = found.scalar_one_or_none()
    return (
        None if invoice_id is None else await invoice(session, organization_id=organization.id, invoice_id=invoice_id)
    )


async def voided_months(session: ReadSession, organization: Organization) -> Counter[Month]:
    """How many invoices of each month of the organization were voided."""
    rows = await session.execute(
        sa.select(col(InvoiceRow.month)).where(
            col(InvoiceRow.organization_id) == organization.id,
            col(InvoiceRow.currency) == organization.currency,
            col(InvoiceRow.kind) == InvoiceKind.USAGE,
            col(InvoiceRow.status) == InvoiceStatus.VOID,
        )
    )
    return Counter(Month.named(name) for name in rows.scalars())


async def voided_since(
    session: ReadSession, organization_ids: Sequence[OrganizationId], *, since: datetime
) -> set[OrganizationId]:
    """The organizations of which an invoice was voided after that instant."""
    rows = await session.execute(
        sa.select(col(InvoiceActRow.organization_id)).where(
            col(InvoiceActRow.organization_id).in_(organization_ids),
            col(InvoiceActRow.kind) == ActKind.VOID,
            col(InvoiceActRow.acted_at) > since,
        )
    )
    return {OrganizationId(each) for each in rows.scalars()}


async def numbered_invoice(session: ReadSession, number: str) -> Invoice | None:
    """The issued invoice with this number, of all organizations: one series numbers them all. Reads every heading."""
    rows = await session.execute(
        sa.select(col(InvoiceRow.organization_id), col(InvoiceRow.id)).where(col(InvoiceRow.number) == number)
    )
    row = rows.one_or_none()
    return None if row is None else await invoice(session, organization_id=row[0], invoice_id=row[1])


async def heading(session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> Heading | None:
    """The heading of the organization's issued invoice with this id."""
    rows = await session.execute(
        _HEADINGS.where(
            col(InvoiceRow.organization_id) == organization_id, col(InvoiceRow.id) == invoice_id
        ).execution_options(populate_existing=True)
    )
    row = rows.scalar_one_or_none()
    return None if row is None else _heading(row)


async def invoices(
    session: ReadSession, *, organization_id: OrganizationId, before: InvoiceId | None, count: int
) -> list[Heading]:
    """The organization's issued invoices before that one, newest period first, and of a period the one cut last."""
    found = _HEADINGS.where(col(InvoiceRow.organization_id) == organization_id)
    order = (col(InvoiceRow.period_start), col(InvoiceRow.cut), col(InvoiceRow.id))
    if before is not None:
        place = sa.select(*order).where(
            col(InvoiceRow.organization_id) == organization_id, col(InvoiceRow.id) == before
        )
        found = found.where(sa.tuple_(*order) < place.scalar_subquery())
    rows = await session.execute(found.order_by(*(column.desc() for column in order)).limit(count))
    return [_heading(row) for row in rows.scalars()]


async def last_of(
    session: ReadSession, organizations: Collection[tuple[OrganizationId, str]]
) -> dict[OrganizationId, Heading]:
    """The latest month's usage invoice, not void, of each organization in its currency; who has none is left out."""
    rows = await session.execute(
        _HEADINGS.where(
            sa.tuple_(col(InvoiceRow.organization_id), col(InvoiceRow.currency)).in_(organizations),
            col(InvoiceRow.kind) == InvoiceKind.USAGE,
            col(InvoiceRow.status) != InvoiceStatus.VOID,
        )
        .ext(postgresql.distinct_on(col(InvoiceRow.organization_id)))
        .order_by(col(InvoiceRow.organization_id), col(InvoiceRow.month).desc())
    )
    return {row.organization_id: _heading(row) for row in rows.scalars()}


async def newest(session: ReadSession, *, organization_id: OrganizationId) -> Heading | None:
    """The organization's usage invoice that was cut last and is not void."""
    rows = await session.execute(
        _HEADINGS.where(
            col(InvoiceRow.organization_id) == organization_id,
            col(InvoiceRow.kind) == InvoiceKind.USAGE,
            col(InvoiceRow.status) != InvoiceStatus.VOID,
        )
        .order_by(col(InvoiceRow.cut).desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    row = rows.scalar_one_or_none()
    return None if row is None else _heading(row)


async def add_lines(session: WriteSession, *, heading: Heading, lines: Sequence[Line]) -> None:
    """Insert the lines of an invoice that is about to be issued; the database refuses any once it is."""
    await session.execute(sa.insert(InvoiceLineRow), [_columns(heading, line) for line in lines])


async def next_serial(session: WriteSession, series: str) -> int:
    """The next number of the series. Whoever asks next waits until this transaction ends, so none is ever skipped."""
    taken = await session.execute(
        postgresql.insert(InvoiceSeriesRow)
        .values(series=series, next_number=2)
        .on_conflict_do_update(
            index_elements=[col(InvoiceSeriesRow.series)],
            set_={"next_number": col(InvoiceSeriesRow.next_number) + 1},
        )
        .returning(col(InvoiceSeriesRow.next_number) - 1)
    )
    return int(taken.scalar_one())


async def add_invoice(session: WriteSession, *, heading: Heading, document: str) -> None:
    """Insert the invoice whose lines are there already; from then on neither changes."""
    session.add(
        InvoiceRow(
            **{name: getattr(heading, name) for name in _PLAIN_COLUMNS},
            **{name: getattr(heading.totals, name) for name in Totals.__slots__},
            **{f"tax_{name}": getattr(heading.tax, name) for name in Tax.__slots__},
            month=heading.month.name,
            period_start=heading.window.period.start,
            period_end=heading.window.period.end,
            cut=heading.window.cut,
            previous_end=heading.window.previous_end,
            previous_cut=heading.window.previous_cut,
            document=document,
        )
    )
    await session.flush()


async def move_on(session: WriteSession, heading: Heading) -> None:
    """Write down what of an issued invoice changes: its status, when it was paid, what is paid and credited."""
    await session.execute(
        sa.update(InvoiceRow)
        .where(col(InvoiceRow.organization_id) == heading.organization_id, col(InvoiceRow.id) == heading.id)
        .values(**{name: getattr(heading, name) for name in _CHANGING_COLUMNS})
        .execution_options(synchronize_session=False)
    )


_CHANGING_COLUMNS = ("status", "paid_at", "amount_paid", "amount_credited")
_PLAIN_COLUMNS = (
    "organization_id",
    "id",
    "number",
    "status",
    "kind",
    "currency",
    "timezone",
    "billing_mode",
    "customer_name",
    "issued_at",
    "due_at",
    "paid_at",
)


def _columns(heading: Heading, line: Line) -> dict[str, object]:
    used = {name: getattr(line.usage, name, None) for name in PricedUsage.__slots__}
    return {
        **used,
        "organization_id": heading.organization_id,
        "invoice_id": heading.id,
        "n": line.n,
        "type": line.type,
        "origin": line.origin.name if line.origin else None,
        "adjustment_id": line.adjusted.id if line.adjusted else None,
        "adjustment_reason": line.adjusted.reason if line.adjusted else None,
        "agreement_id": line.agreed.agreement_id if line.agreed else None,
        "wording": line.agreed.wording if line.agreed else None,
        "amount_exact": line.amount_exact,
        "amount": line.amount,
    }


def _heading(row: InvoiceRow) -> Heading:
    return Heading(
        organization_id=row.organization_id,
        id=row.id,
        number=row.number,
        status=InvoiceStatus(row.status),
        kind=InvoiceKind(row.kind),
        currency=row.currency,
        month=Month.named(row.month),
        window=Window(
            Period(row.period_start, row.period_end),
            row.cut,
            previous_end=row.previous_end,
            previous_cut=row.previous_cut,
        ),
        timezone=row.timezone,
        billing_mode=BillingMode(row.billing_mode),
        customer_name=row.customer_name,
        totals=Totals(**{name: getattr(row, name) for name in Totals.__slots__}),
        issued_at=row.issued_at,
        due_at=row.due_at,
        paid_at=row.paid_at,
        amount_paid=row.amount_paid,
        amount_credited=row.amount_credited,
        tax=Tax(TaxTreatment(row.tax_treatment), row.tax_label, row.tax_rate, row.tax_amount, row.tax_note),
    )


def _line(row: InvoiceLineRow) -> Line:
    adjusted = None
    if row.adjustment_id is not None and row.adjustment_reason is not None:
        adjusted = Adjusted(row.adjustment_id, row.adjustment_reason)
    agreed = None
    if row.wording is not None:
        agreed = Agreed(row.agreement_id, row.wording, None if row.origin is None else Month.named(row.origin))
    return Line(row.n, LineType(row.type), _usage(row), adjusted, row.amount_exact, row.amount, agreed)


def _usage(row: InvoiceLineRow) -> PricedUsage | None:
    if row.model is None or row.tier is None or row.unit_price is None or row.quantity is None:
        return None
    return PricedUsage(
        project_id=row.project_id,
        project_name=row.project_name,
        model=row.model,
        kind=Kind(str(row.kind)),
        tier=row.tier,
        price_version_id=row.price_version_id,
        unit=Unit(str(row.unit)),
        unit_price=row.unit_price,
        quantity=int(row.quantity),
        origin=None if row.origin is None else Month.named(row.origin),
    )
