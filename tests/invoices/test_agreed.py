"""What was agreed beside usage, on drafts: worked numbers, and the laws that hold for every invoice."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.agreements.builders import ACME, BERLIN, a_commitment, a_discount, a_subscription
from tests.invoices.builders import NOVEMBER, OCTOBER, SEPTEMBER, an_organization, spent, usage

from tollgate.agreements.model import BillingDetails, Issuer, TaxTerms, TaxTreatment
from tollgate.agreements.rules import billing
from tollgate.invoices.model import Adjustments, Invoice, Invoiced, LineType, Terms, Usage
from tollgate.invoices.rules import closing, document, lines, windows
from tollgate.invoices.schemas.invoices import InvoiceView
from tollgate.kit import money
from tollgate.kit.ids import AdjustmentId
from tollgate.kit.tokens import Kind
from tollgate.ledger.model import RECEIVABLE, REVENUE, TAX, UNBILLED, Adjustment, Favour

CURRENCIES = st.sampled_from(["JPY", "USD", "KWD"])
"""With 0, 2 and 3 decimals."""
ABOVE_ZERO = st.decimals(min_value=0, max_value=10**6, places=6)
SUB, CMT, DSC = a_subscription(starts_on=date(2026, 11, 1)), a_commitment(), a_discount()
VAT = BillingDetails(tax=TaxTerms(TaxTreatment.EXCLUSIVE, Decimal(19)))


def draft(*usages: Usage, currency: str = "USD", adjustments: Adjustments | None = None, **terms: Any) -> Invoice:
    organization = an_organization(currency=currency)
    window = windows.window(organization, NOVEMBER, last=None, cut=0)
    given_terms = Terms(**{"open_from": NOVEMBER, **terms})
    return lines.draft(organization, NOVEMBER, window, usages, adjustments or Adjustments(), given_terms)


def told(invoice: Invoice) -> list[tuple[str, str]]:
    """Each line but those of usage: what it says, and how much."""
    return [(document.description(line), str(line.amount)) for line in invoice.lines if line.usage is None]


class TestFees:
    def test_of_a_whole_month_and_of_a_part_of_it(self) -> None:
        support = a_subscription("10", name="Support", starts_on=date(2026, 11, 16), ends_on=date(2026, 11, 20))

        invoice = draft(agreements=[SUB, support])

        assert told(invoice) == [
            ("Platform, 2026-11", "30.00"),
            ("Support, 2026-11-16 to 2026-11-19, 4 of 30 days", "1.33"),
        ]
        assert invoice.heading.totals.fees == invoice.heading.totals.total == Decimal("31.33")

    def test_of_a_month_that_closed_before_they_were_agreed_come_late_and_once(self) -> None:
        october = a_subscription(starts_on=date(2026, 10, 1), ends_on=date(2026, 11, 1))
        invoiced = Invoiced(fees=frozenset({(october.id, OCTOBER)}))

        late = draft(agreements=[october])

        assert [(line.origin, line.amount) for line in late.lines] == [(OCTOBER, 30)]
        assert draft(agreements=[october], invoiced=invoiced).lines == ()
        assert draft(agreements=[october], open_from=OCTOBER).lines == ()  # October's own invoice will have it

    def test_that_were_taken_back_before_they_began_are_none(self) -> None:
        assert draft(agreements=[a_subscription(starts_on=date(2026, 11, 9), ends_on=date(2026, 11, 9))]).lines == ()


class TestCommitments:
    def test_add_what_the_months_own_usage_lacks_before_discount_and_credits(self) -> None:
        invoice = draft(usage("60.5"), usage("7", origin=OCTOBER), spent("10"), agreements=[CMT, DSC])

        assert told(invoice) == [
            ("Minimum commitment of 100 USD, 2026-11", "39.50"),
            ("Discount of 10 %", "-5.05"),  # of 60.5 - 10
            ("Discount of 10 % on usage of 2026-10", "-0.70"),
            ("Credits applied", "-10.00"),
        ]

    def test_that_usage_reaches_add_nothing(self) -> None:
        assert told(draft(usage("100"), agreements=[CMT])) == []

    def test_late_usage_uses_up_what_was_charged_and_no_more(self) -> None:
        charged = Invoiced(topped_up={(CMT.id, OCTOBER): Decimal(20)})
        partly = replace(charged, used_up={(CMT.id, OCTOBER): Decimal(15)}, late={OCTOBER: Decimal(15)})
        october = replace(CMT, ends_on=date(2026, 11, 1))

        first = draft(usage("15", origin=OCTOBER), agreements=[october], invoiced=charged)
        second = draft(usage("15", origin=OCTOBER), agreements=[october], invoiced=partly)

        assert told(first) == [("Minimum commitment of 2026-10, made up for by late usage", "-15.00")]
        assert (first.lines[-1].origin, first.heading.totals.total) == (OCTOBER, 0)
        assert told(second) == [("Minimum commitment of 2026-10, made up for by late usage", "-5.00")]
        assert second.heading.totals.total == 10

    def test_what_an_invoice_has_no_room_for_is_taken_from_the_next(self) -> None:
        charged = Invoiced(topped_up={(CMT.id, OCTOBER): Decimal(20)})
        owed = replace(charged, late={OCTOBER: Decimal(15)})
        october = replace(CMT, ends_on=date(2026, 11, 1))

        paid_by_credits = draft(usage("15", origin=OCTOBER), spent("15"), agreements=[october], invoiced=charged)
        following = draft(usage("40"), agreements=[october], invoiced=owed)

        assert told(paid_by_credits) == [("Credits applied", "-15.00")]
        assert told(following) == [("Minimum commitment of 2026-10, made up for by late usage", "-15.00")]

    @given(st.lists(st.tuples(ABOVE_ZERO, ABOVE_ZERO), max_size=3), ABOVE_ZERO)
    def test_never_count_twice(self, later: list[tuple[Decimal, Decimal]], least: Decimal) -> None:
        """October used nothing; usage of it comes late, each time beside usage of the month it comes in."""
        october = replace(CMT, amount=least, ends_on=date(2026, 11, 1))
        invoiced = Invoiced(topped_up={(CMT.id, OCTOBER): least})
        for late, own in later:
            invoice = draft(usage(str(late), origin=OCTOBER), usage(str(own)), agreements=[october], invoiced=invoiced)
            taken = -invoice.heading.totals.commitments_exact
            invoiced = replace(
                invoiced,
                used_up={(CMT.id, OCTOBER): invoiced.used_up.get((CMT.id, OCTOBER), money.ZERO) + taken},
                late={OCTOBER: invoiced.late.get(OCTOBER, money.ZERO) + late},
            )
        all_late = sum((late for late, _ in later), money.ZERO)

        # October costs its minimum, or its usage if that is more, however many invoices say so.
        cost = least + all_late - invoiced.used_up.get((CMT.id, OCTOBER), money.ZERO)
        assert cost == max(least, all_late)


class TestDiscounts:
    def test_are_those_of_the_month_that_was_used_in(self) -> None:
        october = replace(DSC, percent=Decimal(50), ends_on=date(2026, 11, 1))

        invoice = draft(usage("1"), usage("1", origin=OCTOBER), usage("1", origin=SEPTEMBER), agreements=[october])

        assert told(invoice) == [
            ("Discount of 50 % on usage of 2026-09", "-0.50"),
            ("Discount of 50 % on usage of 2026-10", "-0.50"),
        ]

    def test_of_usage_that_credits_paid_are_none(self) -> None:
        assert told(draft(usage("5"), spent("5"), agreements=[DSC])) == [("Credits applied", "-5.00")]


class TestTax:
    def test_that_is_added_is_the_last_line(self) -> None:
        invoice = draft(usage("12.345"), usage("5", kind=Kind.COMPLETION), spent("5"), billing=VAT)

        assert told(invoice) == [("Credits applied", "-5.00"), ("VAT 19 %", "2.35")]  # of 12.35: 2.3465
        totals = invoice.heading.totals
        assert (totals.tax, totals.total, totals.total_exact) == (
            Decimal("2.35"), Decimal("14.70"), Decimal("14.695"))  # fmt: skip
        assert (invoice.heading.net, invoice.heading.tax.amount) == (Decimal("12.35"), Decimal("2.35"))

    def test_that_is_contained_is_told_and_adds_nothing(self) -> None:
        inclusive = replace(VAT, tax=TaxTerms(TaxTreatment.INCLUSIVE, Decimal(19)))

        invoice = draft(usage("119"), billing=inclusive)

        assert told(invoice) == []
        heading = invoice.heading
        assert (heading.totals.total, heading.tax.amount, heading.net) == (119, 19, 100)
        posted = closing.postings(heading, now=an_organization().created_at)
        assert [(each.debit_account, each.credit_account, each.amount) for each in posted] == [
            (REVENUE, TAX, 19),
            (RECEIVABLE, UNBILLED, 119),
        ]

    def test_alone_makes_no_invoice(self) -> None:
        assert draft(billing=VAT).lines == ()

    def test_that_the_customer_owes_says_so(self) -> None:
        reverse = replace(ACME, tax=TaxTerms(TaxTreatment.REVERSE_CHARGE))

        view = InvoiceView.of(draft(usage("100"), billing=reverse))

        assert view.tax is not None
        assert (view.tax.rate, view.tax.net, view.tax.amount) == ("0", "100.00", "0.00")
        assert view.tax.note == billing.REVERSE_CHARGE_NOTE


class TestDocument:
    def test_says_between_whom_and_on_which_terms(self) -> None:
        issuer = Issuer("Tollgate GmbH", BERLIN, ACME.tax_ids, "HRB 1", "bills@tollgate.example", "IBAN DE00")
        invoice = draft(usage("100"), agreements=[SUB], billing=replace(ACME, tax=VAT.tax, term_days=30), issuer=issuer)

        view = InvoiceView.of(invoice)

        assert view.issuer is not None
        assert view.customer is not None
        assert view.tax is not None
        assert view.payment is not None
        assert (view.issuer.name, view.issuer.address.country, view.issuer.registration) == (
            "Tollgate GmbH", "DE", "HRB 1")  # fmt: skip
        assert (view.customer.name, view.customer.purchase_order) == ("Acme Corporation", "PO 4711")
        assert (view.tax.net, view.tax.amount, view.total) == ("130.00", "24.70", "154.70")
        assert (view.payment.term_days, view.payment.instructions) == (30, "IBAN DE00")
        assert (view.fees, view.fees_exact, view.commitments, view.discounts) == ("30.00", "30", None, None)
        assert view.lines[1].agreement == f"sub_{SUB.id}"

    def test_addresses_the_organization_by_its_name_if_no_other_is_known(self) -> None:
        view = InvoiceView.of(draft(usage("1"), billing=BillingDetails(purchase_order="PO 1")))

        assert view.customer is not None
        assert (view.customer.name, view.customer.address, view.customer.tax_ids) == ("Acme", None, [])

    def test_leaves_out_what_was_never_said(self) -> None:
        view = InvoiceView.of(draft(usage("1")))

        assert (view.issuer, view.customer, view.tax, view.fees) == (None, None, None, None)


@st.composite
def a_draft(drawn: st.DrawFn) -> Invoice:
    """A month with usage of its own and late usage, credits, a charge, favours, and everything that can be agreed."""
    currency = drawn(CURRENCIES)
    own, late = drawn(st.lists(ABOVE_ZERO, max_size=4)), drawn(st.lists(ABOVE_ZERO, max_size=3))
    usages = [usage(str(each)) for each in own] + [usage(str(each), origin=OCTOBER) for each in late]
    credit = drawn(st.decimals(min_value=0, max_value=sum(own, money.ZERO), places=6))
    fee, least = (money.from_minor_units(drawn(st.integers(1, 10**8)), currency) for _ in range(2))
    agreements = [
        replace(SUB, amount=fee, currency=currency, starts_on=date(2026, 11, drawn(st.integers(1, 30)))),
        replace(CMT, amount=least, currency=currency),
        replace(DSC, percent=drawn(st.decimals("0.0001", 100, places=4))),
    ]
    treatment = drawn(st.sampled_from([TaxTreatment.EXCLUSIVE, TaxTreatment.INCLUSIVE]))
    rate = drawn(st.decimals(0, 100, places=4))
    return draft(
        *usages,
        spent(str(credit)),
        currency=currency,
        adjustments=Adjustments(favours=[a_favour(each) for each in drawn(st.lists(ABOVE_ZERO, max_size=2))]),
        agreements=drawn(st.permutations(agreements).map(lambda each: each[: drawn(st.integers(0, 3))])),
        billing=BillingDetails(tax=TaxTerms(treatment, rate)),
        invoiced=Invoiced(topped_up={(CMT.id, OCTOBER): drawn(ABOVE_ZERO)}),
    )


def a_favour(amount: Decimal) -> Favour:
    organization = an_organization()
    adjustment = Adjustment(
        organization.id, AdjustmentId(organization.id), amount, "USD", "an outage", money.ZERO, 0,
        organization.created_at, None)  # fmt: skip
    return Favour(adjustment, amount)


class TestEveryInvoice:
    @given(a_draft())
    def test_adds_up_is_rounded_once_and_taxed_on_that(self, invoice: Invoice) -> None:
        heading, totals = invoice.heading, invoice.heading.totals
        exclusive = heading.tax.treatment is TaxTreatment.EXCLUSIVE

        assert sum(line.amount for line in invoice.lines) == totals.total
        assert sum(line.amount_exact for line in invoice.lines) == totals.total_exact
        assert abs(totals.total - totals.total_exact) * 2 <= money.from_minor_units(1, heading.currency)
        for kind in LineType:
            of_kind = [line for line in invoice.lines if line.type is kind]
            assert getattr(totals, kind.total) == sum(line.amount for line in of_kind)
            assert getattr(totals, f"{kind.total}_exact") == sum(line.amount_exact for line in of_kind)
        assert [line.n for line in invoice.lines] == list(range(1, len(invoice.lines) + 1))
        taxed = heading.net if exclusive else totals.total
        assert heading.tax.amount == billing.tax_on(taxed, invoice.terms.billing.tax, heading.currency)
        assert totals.tax == (heading.tax.amount if exclusive else 0)
        assert heading.net >= 0

    @given(a_draft())
    def test_says_the_same_in_the_ledger_and_in_its_document(self, invoice: Invoice) -> None:
        heading, totals, view = invoice.heading, invoice.heading.totals, InvoiceView.of(invoice)
        balances: dict[str, Decimal] = {}
        for each in closing.postings(heading, now=an_organization().created_at):
            assert each.amount > 0
            balances[each.debit_account] = balances.get(each.debit_account, money.ZERO) + each.amount
            balances[each.credit_account] = balances.get(each.credit_account, money.ZERO) - each.amount

        # What usage, charges and favours left in `unbilled` before is gone from it.
        recorded_before = totals.subtotal_exact + totals.adjustments_exact + totals.credits_exact
        assert balances.get(UNBILLED, 0) == -recorded_before
        assert balances.get(RECEIVABLE, 0) == totals.total
        assert balances.get(TAX, 0) == -heading.tax.amount
        parts = (view.subtotal, view.adjustments, view.fees, view.commitments, view.discounts, view.credits)
        tax = view.tax.amount if view.tax and view.tax.treatment == TaxTreatment.EXCLUSIVE else "0"
        assert sum(Decimal(each or 0) for each in (*parts, tax)) == Decimal(view.total)
        assert sum(Decimal(line.amount) for line in view.lines) == Decimal(view.total)
