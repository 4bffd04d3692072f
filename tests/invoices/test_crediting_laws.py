"""Whatever is credited, paid, given back, disputed and written off: invoice, notes and ledger say the same."""

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.invoices.builders import AFTER, NOVEMBER, an_organization

from tollgate.invoices.acts import Act, ActKind, CreditNote, CreditOrder, LineOrder, Part, Parts, Surplus
from tollgate.invoices.model import (
    Heading,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Line,
    LineType,
    Payment,
    PaymentKind,
    PaymentMethod,
    Totals,
    Window,
)
from tollgate.invoices.rules import crediting, paying, voiding, windows
from tollgate.kit import money
from tollgate.kit.errors import Conflict, InvalidRequest, TollgateError
from tollgate.kit.ids import CreditNoteId, PaymentId, derived_id
from tollgate.ledger.model import Transfer

CURRENCIES = st.sampled_from(["JPY", "USD", "KWD"])
"""With 0, 2 and 3 decimals."""
ZERO = Decimal(0)
REASON = "it was wrong"


def an_invoice(lines: Sequence[Part], currency: str = "USD", *, contained: str | None = None) -> Invoice:
    """An issued invoice that says these lines, and maybe that they contain tax."""
    organization = an_organization(currency=currency)
    said = Parts(tuple(lines), ZERO)
    none = dict.fromkeys(Totals.__slots__, ZERO)
    heading = Heading(
        organization_id=organization.id,
        id=windows.invoice_id(organization.id, currency, NOVEMBER),
        number="TG-2026-000001",
        status=InvoiceStatus.FINALISED if said.total else InvoiceStatus.PAID,
        kind=InvoiceKind.USAGE,
        currency=currency,
        month=NOVEMBER,
        window=Window(NOVEMBER.instants(organization.zone), 1, previous_end=None, previous_cut=None),
        timezone="UTC",
        billing_mode=organization.billing_mode,
        customer_name="Acme",
        totals=Totals(**{**none, "total": said.total, "total_exact": said.total_exact}),
        issued_at=AFTER,
        due_at=AFTER,
        paid_at=None if said.total else AFTER,
    )
    document = {"tax": {"treatment": "inclusive", "amount": contained}} if contained else {}
    rows = tuple(Line(each.n, each.type, None, None, each.amount_exact, each.amount) for each in lines)
    return Invoice(heading, rows, unpriced=(), document=json.dumps(document))


def usd(*amounts: str, tax: str | None = None) -> list[Part]:
    """Lines of whole cents, negative ones as credits, and maybe one of tax."""
    kinds = [(LineType.USAGE if Decimal(each) >= 0 else LineType.CREDITS, Decimal(each)) for each in amounts]
    kinds += [(LineType.TAX, Decimal(tax))] if tax else []
    return [Part(n, kind, amount, amount) for n, (kind, amount) in enumerate(kinds, start=1)]


@st.composite
def invoices(draw: st.DrawFn) -> Invoice:
    """Lines above and below zero, each within a minor unit of its exact amount, with tax on top, contained, or none."""
    currency = draw(CURRENCIES)
    amounts = draw(st.lists(st.integers(-300, 1000), min_size=1, max_size=6))
    amounts[0] += max(0, 1 - sum(amounts))
    net = sum(amounts)
    # The exact amounts differ by thousandths of the minor unit; all of them together by half of one at most.
    off = draw(st.lists(st.integers(-499 // len(amounts), 499 // len(amounts)), min_size=6, max_size=6))
    lines = []
    for n, amount in enumerate(amounts, start=1):
        exact = (Decimal(amount) + Decimal(off[n - 1]).scaleb(-3)).scaleb(-money.minor_unit_decimals(currency))
        kind = LineType.USAGE if amount >= 0 else LineType.CREDITS
        lines.append(Part(n, kind, money.from_minor_units(amount, currency), exact))
    tax = money.from_minor_units(draw(st.integers(0, net)), currency)
    treatment = draw(st.sampled_from(["none", "exclusive", "inclusive"]))
    if treatment == "exclusive":
        lines.append(Part(len(lines) + 1, LineType.TAX, tax, tax))
    return an_invoice(lines, currency, contained=str(tax) if treatment == "inclusive" else None)


def credit(invoice: Invoice, notes: Sequence[CreditNote], order: CreditOrder) -> CreditNote:
    """The next note, as the service makes it."""
    heading = replace(invoice.heading, amount_credited=sum((note.amount for note in notes), ZERO))
    return CreditNote(
        organization_id=heading.organization_id,
        id=CreditNoteId(UUID(int=len(notes))),
        invoice_id=heading.id,
        number=f"CN-2026-{len(notes) + 1:06}",
        currency=heading.currency,
        reason=order.reason,
        surplus=order.surplus,
        credited=crediting.credit(heading, crediting.left(crediting.said(invoice), summed(notes)), order),
        issued_at=AFTER,
        issued_by=None,
    )


def summed(notes: Sequence[CreditNote]) -> Parts:
    """What the notes say together, line by line."""
    lines: dict[int, Part] = {}
    for part in (part for note in notes for part in note.credited.lines):
        known = lines.get(part.n, Part(part.n, part.type, ZERO, ZERO))
        lines[part.n] = replace(
            known, amount=known.amount + part.amount, amount_exact=known.amount_exact + part.amount_exact
        )
    return Parts(tuple(lines.values()), sum((note.credited.contained_tax for note in notes), ZERO))


def left(invoice: Invoice, notes: Sequence[CreditNote]) -> Parts:
    return crediting.left(crediting.said(invoice), summed(notes))


def units(amount: Decimal, currency: str) -> int:
    return money.to_minor_units(amount, currency)


@st.composite
def orders(draw: st.DrawFn, invoice: Invoice, notes: Sequence[CreditNote]) -> CreditOrder:
    """An amount, all that is left, or some of the lines or of their parts; not every one of the last can be."""
    currency, rest = invoice.heading.currency, left(invoice, notes)
    surplus = draw(st.sampled_from(Surplus))
    match draw(st.sampled_from(["whole", "amount", "lines"])):
        case "whole":
            return CreditOrder(REASON, surplus=surplus)
        case "amount":
            amount = money.from_minor_units(draw(st.integers(1, max(units(rest.total, currency), 1))), currency)
            return CreditOrder(REASON, amount=amount, surplus=surplus)
    lines = draw(st.lists(st.sampled_from(rest.lines), unique_by=lambda line: line.n, min_size=1))
    named = []
    for line in lines:
        most = abs(units(line.amount, currency))
        part = draw(st.none() | st.integers(1, max(most, 1)))
        named.append(LineOrder(line.n, None if part is None else money.from_minor_units(part, currency)))
    return CreditOrder(REASON, lines=tuple(named), surplus=surplus)


class TestSpread:
    @given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=10), st.data())
    def test_shares_add_up_have_the_sign_of_their_part_and_are_not_beyond_it(
        self, parts: list[int], data: st.DataObject
    ) -> None:
        parts[0] += max(0, 1 - sum(parts))
        amount = data.draw(st.integers(0, sum(parts)))

        shares = crediting.spread(parts, amount)

        assert sum(shares) == amount
        for part, share in zip(parts, shares, strict=True):
            assert min(part, 0) <= share <= max(part, 0)
            assert abs(share * sum(parts) - part * amount) < sum(parts)

    @given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 1000))
    def test_a_share_is_half_a_unit_off_at_most(self, whole: int, part: int, of: int) -> None:
        assert abs(crediting.share(whole, part, of) * of - whole * part) * 2 <= of


class TestNotes:
    @given(invoices())
    def test_a_whole_one_is_the_negation_of_the_invoice(self, invoice: Invoice) -> None:
        note = credit(invoice, [], CreditOrder(REASON))

        assert (
            note.credited
            == replace(
                crediting.said(invoice),
                lines=tuple(line for line in crediting.said(invoice).lines if line.amount or line.amount_exact),
            ).negated
        )
        assert (note.credited.total, note.credited.total_exact) == (
            -invoice.heading.totals.total,
            -invoice.heading.totals.total_exact,
        )

    @given(invoices(), st.data())
    def test_never_exceed_the_invoice_and_the_last_one_closes_it_to_the_last_digit(
        self, invoice: Invoice, data: st.DataObject
    ) -> None:
        currency, notes, posted = invoice.heading.currency, list[CreditNote](), list[Transfer]()
        for _ in range(data.draw(st.integers(0, 4))):
            if left(invoice, notes).total == 0:
                break
            try:
                note = credit(invoice, notes, data.draw(orders(invoice, notes)))
            except InvalidRequest:
                continue
            notes.append(note)
            posted += crediting.postings(invoice.heading, note)
            check(note, left(invoice, notes), invoice)
        if left(invoice, notes).total > 0:
            notes.append(credit(invoice, notes, CreditOrder(REASON)))
            posted += crediting.postings(invoice.heading, notes[-1])

        closed, said = left(invoice, notes), crediting.said(invoice)
        assert all(line.amount == line.amount_exact == 0 for line in closed.lines)
        assert closed.total_exact == closed.contained_tax == 0
        assert sum(note.amount for note in notes) == said.total
        assert units(said.total, currency) > 0
        assert moved(posted, "revenue") == said.total_exact - said.tax
        assert moved(posted, "tax") == said.tax
        assert moved(posted, "rounding") == said.total - said.total_exact
        assert moved(posted, "receivable") == -said.total
        with pytest.raises(Conflict, match="left to credit"):
            credit(invoice, notes, CreditOrder(REASON))


def check(note: CreditNote, rest: Parts, invoice: Invoice) -> None:
    """It is of whole minor units, rounded by half of one at most, and leaves something of every line it is of."""
    currency, credited = note.currency, note.credited
    unit = money.from_minor_units(1, currency)
    assert note.amount > 0
    assert abs(credited.total - credited.total_exact) * 2 <= unit
    assert 0 <= -credited.tax <= note.amount
    assert 0 <= rest.contained_tax <= rest.total
    for line, part in zip(crediting.said(invoice).lines, rest.lines, strict=True):
        assert min(line.amount, ZERO) <= part.amount <= max(line.amount, ZERO)
        assert part.amount == money.from_minor_units(units(part.amount, currency), currency)


def moved(transfers: Sequence[Transfer], account: str) -> Decimal:
    """Debits less credits of the account."""
    debits = sum((each.amount for each in transfers if each.debit_account == account), ZERO)
    return debits - sum((each.amount for each in transfers if each.credit_account == account), ZERO)


class TestOrders:
    def test_by_amount_are_shared_out_over_the_lines_and_their_tax(self) -> None:
        note = credit(
            an_invoice(usd("60.00", "50.00", "-10.00", tax="19.00")), [], CreditOrder(REASON, Decimal("11.90"))
        )

        assert [str(line.amount) for line in note.credited.lines] == ["-6.00", "-5.00", "1.00", "-1.90"]
        assert (note.credited.total, note.credited.tax) == (Decimal("-11.90"), Decimal("-1.90"))

    def test_by_line_take_their_part_of_the_tax_along(self) -> None:
        invoice = an_invoice(usd("60.00", "40.00", tax="19.00"))
        order = CreditOrder(REASON, lines=(LineOrder(1, Decimal("10.00")), LineOrder(2)))

        note = credit(invoice, [], order)

        assert [(line.n, str(line.amount)) for line in note.credited.lines] == [
            (1, "-10.00"),
            (2, "-40.00"),
            (3, "-9.50"),
        ]

    def test_of_the_tax_alone_leave_the_net(self) -> None:
        note = credit(an_invoice(usd("100.00", tax="19.00")), [], CreditOrder(REASON, lines=(LineOrder(2),)))

        assert [(line.n, str(line.amount)) for line in note.credited.lines] == [(2, "-19.00")]
        assert moved(crediting.postings(an_invoice(usd("100.00", tax="19.00")).heading, note), "tax") == 19

    def test_take_contained_tax_in_proportion(self) -> None:
        note = credit(an_invoice(usd("119.00"), contained="19.00"), [], CreditOrder(REASON, Decimal("59.50")))

        assert note.credited.tax == Decimal("-9.50")

    @pytest.mark.parametrize(
        ("order", "field"),
        [
            (CreditOrder(REASON, Decimal(0)), "amount"),
            (CreditOrder(REASON, Decimal("1.01")), "amount"),
            (CreditOrder(REASON, Decimal("0.001")), "amount"),
            (CreditOrder(REASON, Decimal(1), (LineOrder(1),)), "lines"),
            (CreditOrder(REASON, lines=(LineOrder(1),)), "lines"),  # 10.00 of 1.00
            (CreditOrder(REASON, lines=(LineOrder(2),)), "lines"),  # comes to -9.00
            (CreditOrder(REASON, lines=(LineOrder(7),)), "lines[0].n"),
            (CreditOrder(REASON, lines=(LineOrder(1, Decimal(1)), LineOrder(1))), "lines[1].n"),
            (CreditOrder(REASON, lines=(LineOrder(1, Decimal("10.01")),)), "lines[0].amount"),
            (CreditOrder(REASON, lines=(LineOrder(1, Decimal(0)),)), "lines[0].amount"),
            (CreditOrder(REASON, lines=(LineOrder(1, Decimal("0.005")),)), "lines[0].amount"),
        ],
    )
    def test_that_cannot_be_are_refused_by_the_field_at_fault(self, order: CreditOrder, field: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            credit(an_invoice(usd("10.00", "-9.00")), [], order)

        assert refused.value.field == field


MOVES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(PaymentKind), st.integers(1, 1500)),
        st.tuples(st.sampled_from(["credit", "write off", "void"]), st.just(0)),
    ),
    max_size=8,
)


@given(invoices(), MOVES, st.data())
def test_what_is_owed_in_the_ledger_is_always_what_the_invoice_says_less_what_is_given_up(
    invoice: Invoice, moves: list[tuple[PaymentKind | str, int]], data: st.DataObject
) -> None:
    heading, notes = invoice.heading, list[CreditNote]()
    posted, owed = list[Transfer](), heading.totals.total
    for number, (move, amount) in enumerate(moves):
        heading, transfers = happened(replace(invoice, heading=heading), notes, (move, amount, number), data)
        posted += transfers
        owed += moved(transfers, "receivable")
        if heading.status is InvoiceStatus.VOID:
            owed -= ZERO if invoice.heading.status is heading.status else heading.totals.total
            invoice = replace(invoice, heading=replace(invoice.heading, status=InvoiceStatus.VOID))

        assert owed == heading.balance - paying.lost(heading)
        assert moved(posted, "uncollectible") == paying.lost(heading)
        assert heading.amount_credited == sum(note.amount for note in notes) <= heading.totals.total
        assert heading.status is InvoiceStatus.VOID or (heading.status is InvoiceStatus.PAID) == (heading.balance <= 0)
        assert len({transfer.id for transfer in posted}) == len(posted)


def happened(
    invoice: Invoice, notes: list[CreditNote], move: tuple[PaymentKind | str, int, int], data: st.DataObject
) -> tuple[Heading, Sequence[Transfer]]:
    """The invoice afterwards, and what was posted; without the reversals of a void one, which are not made by rules."""
    (what, amount, number), heading = move, invoice.heading
    try:
        match what:
            case PaymentKind():
                paid = a_payment(heading, what, amount, number)
                return paying.after(heading, paid), paying.postings(heading, paid)
            case "write off":
                voiding.check_may_give_up(heading)
                act = Act(heading.organization_id, UUID(int=number), heading.id, ActKind.UNCOLLECTIBLE, "", AFTER, None)
                return voiding.given_up(heading), voiding.write_off(heading, act, now=AFTER)
            case "void":
                voiding.check_may_void(heading, heading)
                return voiding.voided(heading), ()
        note = credit(invoice, notes, data.draw(orders(invoice, notes)))
    except TollgateError:
        return heading, ()
    note = replace(note, id=CreditNoteId(UUID(int=100 + number)))
    notes.append(note)
    after, posted = crediting.after(heading, note), crediting.postings(heading, note)
    refund = crediting.refund_by_credit(after, note)
    if refund is None:
        return after, posted
    return paying.after(after, refund), (*posted, *paying.postings(after, refund))


def a_payment(heading: Heading, kind: PaymentKind, units: int, number: int) -> Payment:
    return Payment(
        organization_id=heading.organization_id,
        id=PaymentId(derived_id(heading.id, f"payment {number}")),
        invoice_id=heading.id,
        kind=kind,
        method=PaymentMethod.STRIPE,
        amount=money.from_minor_units(units, heading.currency),
        currency=heading.currency,
        reference=None,
        occurred_at=AFTER,
        recorded_at=AFTER,
        recorded_by=None,
    )
