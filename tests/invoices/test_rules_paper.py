"""What is printed of a document: every line once, every digit as it was, and nothing that could not be read."""

import json
import unicodedata
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.invoices.builders import AFTER, NOVEMBER, OCTOBER, an_organization, spent, usage

from tollgate.invoices.model import Usage
from tollgate.invoices.rules import closing, document, lines, windows
from tollgate.invoices.rules.papers import glyphs, wording
from tollgate.invoices.rules.papers.choice import paper_of
from tollgate.invoices.rules.papers.invoice import invoice_paper
from tollgate.invoices.rules.papers.paper import Fact, Paper, Party, Section, Sum, Total
from tollgate.kit.ids import ProjectId
from tollgate.kit.money import amount_text

AMOUNTS = st.decimals(min_value=-(10**12), max_value=10**12, places=12)
LATIN, GREEK = frozenset(range(0x20, 0x250)), frozenset(range(0x370, 0x400))
FONTS = (LATIN, GREEK)
SHOWN = LATIN | GREEK | {ord(each) for each in glyphs._JOINERS}

_NOT_CREDITED = ("price_version", "quantity", "unit", "unit_price", "late")
ISSUER = {
    "name": "Tollgate GmbH",
    "address": {"lines": ["Hauptstr. 1"], "city": "Berlin", "postal_code": "10115", "country": "DE"},
    "tax_ids": [{"type": "eu_vat", "value": "DE123456789"}],
    "registration": "HRB 1234",
    "email": None,
    "something": "nobody knows",
}
CUSTOMER = {
    "name": "Acme Corporation",
    "address": {"lines": ["1 Main St", "Suite 2"], "city": "Springfield", "postal_code": None, "country": "US"},
    "tax_ids": [{"type": "us_ein", "value": "12-3456789"}, {"type": "no_voec", "value": "1"}],
    "email": "ap@acme.example",
    "purchase_order": "PO 4711",
    "notes": "Cost centre 7\n\nFloor 3",
}


def written(*usages: Usage, currency: str = "USD", **more: Any) -> str:
    """The document of an invoice over this usage, with these objects beside."""
    window = windows.window(an_organization(currency=currency), NOVEMBER, last=None, cut=0)
    drafted = lines.draft(an_organization(currency=currency), NOVEMBER, window, usages)
    return json.dumps({**json.loads(document.write(closing.issue(drafted, serial=7, now=AFTER))), **more})


def a_credit_note(invoice: str) -> str:
    """The document of a credit note over the whole of an invoice."""
    said = json.loads(invoice)
    kept = {
        name: said[name] for name in ("organization", "issuer", "customer", "period", "tax", "currency") if name in said
    }
    lines = [
        {**line, "amount": f"-{line['amount']}", "amount_exact": f"-{line['amount_exact']}"} for line in said["lines"]
    ]
    return json.dumps(
        {
            **kept,
            "id": "cn_1",
            "number": "CN-2026-000003",
            "kind": "credit_note",
            "invoice": {name: said[name] for name in ("id", "number", "issued_at")},
            "issued_at": "2026-12-05T09:00:00Z",
            "reason": "Charged twice\nin November",
            "settle": "balance",
            "lines": [{name: value for name, value in line.items() if name not in _NOT_CREDITED} for line in lines],
            "tax_total": "0.00",
            "total_exact": f"-{said['total_exact']}",
            "total": f"-{said['total']}",
            "rounding": "0",
        }
    )


def paper(*usages: Usage, **more: Any) -> Paper:
    return invoice_paper(written(*usages, **more))


def a_tax(treatment: str, rate: str = "19", note: str | None = None) -> dict[str, Any]:
    amount = "19.00" if treatment != "reverse_charge" else "0.00"
    return {"treatment": treatment, "label": "VAT", "rate": rate, "net": "100.00", "amount": amount, "note": note}


def plain(shown: str) -> Decimal:
    return Decimal(shown.replace(",", "").replace("\N{MINUS SIGN}", "-"))


def sums(totals: tuple[Total, ...]) -> list[tuple[str, str, str]]:
    return [(total.label, total.sum.exact, total.sum.amount) for total in totals]


def of_section(section: Section) -> list[str]:
    return [row.n for group in section.groups for row in group.rows]


class TestNumbers:
    @given(AMOUNTS)
    def test_every_digit_is_kept(self, amount: Decimal) -> None:
        text = amount_text(amount)

        assert wording.number(text).replace(",", "").replace("\N{MINUS SIGN}", "-") == text

    @pytest.mark.parametrize(
        ("given_number", "shown"),
        [("0", "0"), ("0.00", "0.00"), ("-1234567.5", "\N{MINUS SIGN}1,234,567.5"), ("999", "999")],
    )
    def test_thousands_stand_apart(self, given_number: str, shown: str) -> None:
        assert wording.number(given_number) == shown


class TestSections:
    @settings(max_examples=30)
    @given(
        st.lists(st.tuples(st.integers(1, 3), st.sampled_from("abc"), st.booleans(), AMOUNTS), max_size=12),
        st.sampled_from(["JPY", "USD", "KWD"]),
    )
    def test_every_line_is_in_one_section_and_its_sums_are_the_lines(
        self, used: list[tuple[int, str, bool, Decimal]], currency: str
    ) -> None:
        usages = [
            replace(
                usage(format(amount, "f"), project_id=ProjectId(UUID(int=n)), model=model),
                project_name=f"Project {n}",
                origin=OCTOBER if late else None,
            )
            for n, model, late, amount in used
        ]
        text = written(*usages, spent("1"), currency=currency)
        said, shown = json.loads(text), invoice_paper(text)

        assert sorted(int(n) for section in shown.sections for n in of_section(section)) == [
            line["n"] for line in said["lines"]
        ]
        rows = [row for section in shown.sections for group in section.groups for row in group.rows]
        assert {row.n: (plain(row.sum.exact), row.sum.amount.replace(",", "")) for row in rows} == {
            str(line["n"]): (Decimal(line["amount_exact"]), line["amount"].replace("-", "\N{MINUS SIGN}"))
            for line in said["lines"]
        }
        for section in shown.sections:
            parts = [row.sum for group in section.groups for row in group.rows]
            if section.subtotal is not None:
                assert plain(section.subtotal.exact) == sum(plain(part.exact) for part in parts)
                assert plain(section.subtotal.amount) == sum(plain(part.amount) for part in parts)

    def test_late_usage_stands_apart(self) -> None:
        shown = paper(usage("1"), usage("2"), usage("3", origin=OCTOBER))

        assert [(section.title, section.remark, of_section(section)) for section in shown.sections] == [
            ("No project", "", ["1", "2"]),
            ("No project", "Used in October 2026, recorded after its invoice", ["3"]),
        ]
        assert [section.subtotal is None for section in shown.sections] == [False, True]

    def test_a_type_of_line_that_nobody_knows_yet_is_shown(self) -> None:
        said = json.loads(written(usage("1")))
        said["lines"].append({**said["lines"][0], "n": 2, "type": "late_fee", "kind": None, "description": "Reminder"})

        assert invoice_paper(json.dumps(said)).sections[-1].title == "Late fee"

    def test_prices_of_tiers_and_of_other_units_say_what_they_are_for(self) -> None:
        (section,) = paper(usage("1", tier=200_000), usage("1", unit="per_second")).sections
        rows = [row for group in section.groups for row in group.rows]

        assert sorted((row.what, row.unit) for row in rows) == [
            ("Prompt tokens", "/ second"),
            ("Prompt tokens, calls of 200,000 or more", "/ million tokens"),
        ]


def test_sums_are_in_the_order_of_their_sections() -> None:
    types = {"fees": "Plan", "discounts": "Discounts", "adjustments": "Adjustments"}
    said = {f"{name}{which}": "1.00" for name in types for which in ("", "_exact")}

    shown = paper(usage("1"), **said)

    assert [total.label for total in shown.totals][1:4] == list(types.values())


class TestParties:
    def test_a_document_of_before_names_the_organization_alone(self) -> None:
        said = json.loads(written(usage("1")))
        of_before = {name: part for name, part in said.items() if name not in {"issuer", "customer", "tax", "payment"}}
        shown = invoice_paper(json.dumps(of_before))

        assert (shown.issuer, shown.customer) == (Party(""), Party("Acme"))
        assert shown.notes[0].paragraphs == ("Payable by 15 December 2026.",)

    def test_addresses_and_tax_ids_are_written_out(self) -> None:
        shown = paper(usage("1"), issuer=ISSUER, customer=CUSTOMER, payment={"term_days": 14, "instructions": "IBAN 1"})

        assert shown.issuer.lines == ("Hauptstr. 1", "10115 Berlin, DE", "VAT ID DE123456789", "HRB 1234")
        assert shown.customer == Party(
            "Acme Corporation",
            ("1 Main St", "Suite 2", "Springfield, US", "EIN 12-3456789", "NO VOEC 1", "ap@acme.example"),
        )
        assert Fact("Purchase order", "PO 4711") in shown.facts
        assert [(note.title, note.paragraphs) for note in shown.notes[:2]] == [
            ("Payment", ("Payable within 14 days of issue, by 15 December 2026.", "IBAN 1")),
            ("Remarks", ("Cost centre 7", "Floor 3")),
        ]

    @pytest.mark.parametrize(
        ("days", "when"),
        [(0, "on receipt, by"), (1, "within a day of issue, by"), (30, "within 30 days of issue, by")],
    )
    def test_terms_of_payment_read_as_a_sentence(self, days: int, when: str) -> None:
        shown = paper(usage("1"), payment={"term_days": days, "instructions": None})

        assert shown.notes[0].paragraphs == (f"Payable {when} 15 December 2026.",)

    def test_nothing_is_to_be_paid_where_nothing_is_due(self) -> None:
        assert paper(usage("1"), spent("1")).notes[0].paragraphs == ("Nothing is to be paid.",)

    @pytest.mark.parametrize(
        ("country", "name", "han"),
        [("TW", "あ", "TC"), ("MO", "", "HK"), ("US", "計算", "SC"), ("US", "計算する", "JP"), (None, "한국", "KR")],
    )
    def test_chinese_characters_look_as_where_they_are_read(self, country: str | None, name: str, han: str) -> None:
        said = json.loads(written(usage("1"), customer={"name": name, "address": {"country": country}}))

        assert invoice_paper(json.dumps(said, ensure_ascii=False)).han == han


class TestTax:
    def test_exclusive_tax_is_added_before_the_total(self) -> None:
        shown = paper(usage("100"), tax=a_tax("exclusive"), total="119.00", total_exact="119")

        assert sums(shown.totals) == [
            ("Usage", "100", "100.00"),
            ("Net", "", "100.00"),
            ("VAT 19 %", "", "19.00"),
            ("Total USD", "119", "119.00"),
        ]

    def test_its_line_is_not_said_twice(self) -> None:
        said = json.loads(written(usage("100"), tax=a_tax("exclusive")))
        said["lines"].append({**said["lines"][0], "n": 2, "type": "tax", "kind": None, "model": None})

        assert [of_section(section) for section in invoice_paper(json.dumps(said)).sections] == [["1"]]

    def test_inclusive_tax_is_told_after_the_total(self) -> None:
        shown = paper(usage("119"), tax=a_tax("inclusive", note="Prices include VAT."))

        assert sums(shown.totals)[1:] == [
            ("Total USD", "119", "119.00"),
            ("Contains VAT 19 %", "", "19.00"),
            ("Net", "", "100.00"),
        ]
        assert (shown.notes[0].title, shown.notes[0].paragraphs) == ("VAT", ("Prices include VAT.",))

    def test_reverse_charge_says_why(self) -> None:
        shown = paper(usage("100"), tax=a_tax("reverse_charge", rate="0", note="The customer owes the tax."))

        assert sums(shown.totals)[1:3] == [("Net", "", "100.00"), ("VAT 0 %", "", "0.00")]
        assert (shown.notes[0].title, shown.notes[0].paragraphs) == ("Reverse charge", ("The customer owes the tax.",))


class TestCreditNotes:
    def test_it_says_what_is_credited_of_which_invoice_and_why(self) -> None:
        shown = paper_of(a_credit_note(written(usage("100"), issuer=ISSUER, customer=CUSTOMER)))

        assert (shown.title, shown.number, shown.mark) == ("Credit note", "CN-2026-000003", "")
        assert Fact("For invoice", "TG-2026-000007") in shown.facts
        assert Fact("Date of issue", "5 December 2026") in shown.facts
        assert (shown.issuer.name, shown.customer.name) == ("Tollgate GmbH", "Acme Corporation")
        (section,) = shown.sections
        assert [row.sum for group in section.groups for row in group.rows] == [
            Sum("\N{MINUS SIGN}100", "\N{MINUS SIGN}100.00")
        ]
        assert sums(shown.totals) == [("Total USD", "\N{MINUS SIGN}100", "\N{MINUS SIGN}100.00")]
        assert [(note.title, note.paragraphs) for note in shown.notes[:2]] == [
            ("Reason", ("Charged twice", "in November")),
            ("Payment", ("What was paid already of what is credited is owed to the customer until it is refunded.",)),
        ]

    def test_what_was_rounded_and_taxed_is_told_as_on_the_invoice(self) -> None:
        said = json.loads(a_credit_note(written(usage("100"), tax=a_tax("exclusive"))))
        shown = paper_of(json.dumps({**said, "rounding": "-0.004", "settle": "credit"}))

        assert [total.label for total in shown.totals] == ["Rounding", "Net", "VAT 19 %", "Total USD"]
        assert "become credit" in shown.notes[1].paragraphs[0]

    def test_any_other_kind_is_an_invoice(self) -> None:
        assert paper_of(written(usage("1"))) == paper(usage("1"))


class TestGlyphs:
    @given(st.text())
    def test_what_is_left_can_be_shown(self, text: str) -> None:
        left = glyphs.legible(text, FONTS)

        assert {ord(each) for each in left} <= SHOWN
        assert not any(unicodedata.category(each) in {"Cc", "Cs", "Co", "Cn"} for each in left)

    @given(st.text(st.characters(codec="utf-8")))
    def test_nothing_is_lost(self, text: str) -> None:
        told = [glyphs.legible(each, FONTS) for each in text]

        assert all(shown in {each, " ", f"[U+{ord(each):04X}]"} for each, shown in zip(text, told, strict=True))
        assert glyphs.plain(text).isascii()

    @given(st.text(st.sampled_from("aé αω")))
    def test_what_fonts_have_stays(self, text: str) -> None:
        assert glyphs.legible(text, FONTS) == text

    def test_a_mark_that_its_letter_s_font_lacks_is_named(self) -> None:
        fonts = (frozenset(map(ord, "a\u0301")), frozenset(map(ord, "\u05e9\u0301\u0951")))

        shown = glyphs.legible("a\u0301\u0951\u05e9\u0301\u0951\u0301", fonts)

        assert shown == "a\u0301[U+0951]\u05e9\u0301\u0951\u0301"

    @pytest.mark.parametrize("hidden", ["\u202e", "\u2066", "\x07", "\ue000", "\ufffe", "\U000e0041", "\ud800"])
    def test_what_hides_or_turns_text_is_named(self, hidden: str) -> None:
        every = [range(0x110000)]

        assert glyphs.legible(f"a{hidden}b", every) == f"a[U+{ord(hidden):04X}]b"

    def test_a_font_without_characters_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no table"):
            glyphs.characters(b"\x00\x01\x00\x00" + bytes(8))
