"""The SQL of credit notes."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import col, select

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.acts import CreditNote, Part, Parts, Surplus
from tollgate.invoices.model import LineType
from tollgate.invoices.tables import CreditNoteLineRow, CreditNoteRow
from tollgate.kit import money
from tollgate.kit.ids import CreditNoteId, InvoiceId, OrganizationId

_PLAIN_COLUMNS = (
    "organization_id",
    "id",
    "invoice_id",
    "number",
    "currency",
    "reason",
    "surplus",
    "issued_at",
    "issued_by",
    "document",
)
_ORDER = (col(CreditNoteRow.issued_at), col(CreditNoteRow.number))


async def add_lines(session: WriteSession, note: CreditNote) -> None:
    """Insert the lines of a note that is about to be issued; the database refuses any once it is."""
    place = {"organization_id": note.organization_id, "credit_note_id": note.id, "invoice_id": note.invoice_id}
    values = [{**place, **{name: getattr(line, name) for name in Part.__slots__}} for line in note.credited.lines]
    await session.execute(sa.insert(CreditNoteLineRow), values)


async def add_note(session: WriteSession, note: CreditNote) -> None:
    """Insert the note whose lines are there already; from then on neither changes."""
    credited = note.credited
    session.add(
        CreditNoteRow(
            **{name: getattr(note, name) for name in _PLAIN_COLUMNS},
            total=credited.total,
            total_exact=credited.total_exact,
            tax=credited.tax,
            contained_tax=credited.contained_tax,
        )
    )
    await session.flush()


async def credited(session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> Parts:
    """What all notes of the invoice say together, line by line."""
    lines = await session.execute(
        sa.select(
            col(CreditNoteLineRow.n),
            sa.func.min(CreditNoteLineRow.type),
            sa.func.sum(CreditNoteLineRow.amount),
            sa.func.sum(CreditNoteLineRow.amount_exact),
        )
        .where(
            col(CreditNoteLineRow.organization_id) == organization_id, col(CreditNoteLineRow.invoice_id) == invoice_id
        )
        .group_by(col(CreditNoteLineRow.n))
    )
    tax = await session.execute(
        sa.select(sa.func.coalesce(sa.func.sum(CreditNoteRow.contained_tax), money.ZERO)).where(
            col(CreditNoteRow.organization_id) == organization_id, col(CreditNoteRow.invoice_id) == invoice_id
        )
    )
    parts = tuple(Part(n, LineType(kind), amount, exact) for n, kind, amount, exact in lines)
    return Parts(parts, tax.scalar_one())


async def note(session: ReadSession, *, organization_id: OrganizationId, note_id: CreditNoteId) -> CreditNote | None:
    """The organization's credit note with this id."""
    row = await session.get(CreditNoteRow, (organization_id, note_id))
    return None if row is None else (await _with_lines(session, [row]))[0]


async def numbered_note(session: ReadSession, number: str) -> CreditNote | None:
    """The credit note with this number, whichever organization's it is."""
    rows = await session.scalars(select(CreditNoteRow).where(col(CreditNoteRow.number) == number))
    found = await _with_lines(session, rows.all())
    return found[0] if found else None


async def notes(
    session: ReadSession, *, organization_id: OrganizationId, before: UUID | None, count: int
) -> list[CreditNote]:
    """The organization's credit notes issued before that one, newest first."""
    found = select(CreditNoteRow).where(col(CreditNoteRow.organization_id) == organization_id)
    if before is not None:
        place = sa.select(*_ORDER).where(
            col(CreditNoteRow.organization_id) == organization_id, col(CreditNoteRow.id) == before
        )
        found = found.where(sa.tuple_(*_ORDER) < place.scalar_subquery())
    rows = await session.scalars(found.order_by(*(column.desc() for column in _ORDER)).limit(count))
    return await _with_lines(session, rows.all())


async def notes_of(session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> list[CreditNote]:
    """The credit notes of an invoice, oldest first."""
    found = select(CreditNoteRow).where(
        col(CreditNoteRow.organization_id) == organization_id, col(CreditNoteRow.invoice_id) == invoice_id
    )
    return await _with_lines(session, (await session.scalars(found.order_by(*_ORDER))).all())


async def _with_lines(session: ReadSession, rows: Sequence[CreditNoteRow]) -> list[CreditNote]:
    if not rows:
        return []
    found = await session.scalars(
        select(CreditNoteLineRow)
        .where(
            col(CreditNoteLineRow.organization_id) == rows[0].organization_id,
            col(CreditNoteLineRow.credit_note_id).in_([row.id for row in rows]),
        )
        .order_by(col(CreditNoteLineRow.n))
    )
    lines: dict[CreditNoteId, list[Part]] = {row.id: [] for row in rows}
    for line in found:
        lines[line.credit_note_id].append(Part(line.n, LineType(line.type), line.amount, line.amount_exact))
    return [_note(row, Parts(tuple(lines[row.id]), row.contained_tax)) for row in rows]


def _note(row: CreditNoteRow, said: Parts) -> CreditNote:
    plain = {name: getattr(row, name) for name in _PLAIN_COLUMNS}
    return CreditNote(**{**plain, "surplus": Surplus(row.surplus)}, credited=said)
