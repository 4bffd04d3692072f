"""Invoices as PDF files: they say what the document says, the same for ever, whoever is named on them."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from tests.invoices.builders import AFTER, NOVEMBER, OCTOBER, an_organization, spent, usage
from tests.invoices.test_rules_paper import CUSTOMER, ISSUER, a_credit_note, a_tax, written

from tollgate.invoices import pdf
from tollgate.invoices.model import Adjusted, Invoice, LineType, Usage
from tollgate.invoices.rules import closing, document, lines, windows
from tollgate.invoices.rules.papers import glyphs
from tollgate.kit.ids import AdjustmentId, ProjectId
from tollgate.kit.tokens import Kind

HOSTILE = (
    '#image("/etc/passwd")',
    '"#panic() \\u{0} $x$ *b* _i_ <l> @r `c` // /* [ ] { }',
    "W" * 200,
    "\u202e0.00 \u2066x\u2069 \x07\x1b[31m\ufffe\ue000\U000e0041",
    "a\u0951 \u05e9\u0951 \U00013000 \U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "\u05e9\u05dc\u05d5\u05dd \u062d\u0633\u0627\u0628 \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31",
    "\u682a\u5f0f\u4f1a\u793e \ud55c\uad6d \u8a08\u7b97 \u8ba1\u7b97 \u039a\u03cc\u03c3\u03bc\u03b5 \u041c\u0438\u0440",
)
CURRENCIES = ("JPY", "USD", "KWD")
"""With 0, 2 and 3 decimals."""
NUMBER = re.compile(r"\u2212?[0-9][0-9,]*(?:\.[0-9]+)?")


def an_invoice(*usages: Usage, name: str = "Acme", currency: str = "USD") -> Invoice:
    organization = an_organization(name=name, currency=currency, timezone="Europe/Berlin")
    window = windows.window(organization, NOVEMBER, last=None, cut=0)
    return lines.draft(organization, NOVEMBER, window, usages)


def issued(invoice: Invoice) -> str:
    return document.write(closing.issue(invoice, serial=42, now=AFTER))


def project(name: str, n: int, worth: Decimal = Decimal("1.5"), **changes: Any) -> Usage:
    """Usage of the project, all at one price."""
    used = usage(format(worth, "f"), project_id=ProjectId(UUID(int=n)), **{"quantity": 1_500_000, **changes})
    return replace(used, project_name=name)


def read(made: bytes) -> PdfReader:
    return PdfReader(io.BytesIO(made))


def part_of(file: PdfReader, *names: str | int) -> Any:
    """What is under these names in the file's catalogue."""
    found: Any = file.root_object
    for name in names:
        found = found[name].get_object() if isinstance(name, str) else found[name]
    return found


def text_of(made: bytes) -> str:
    return "\n".join(page.extract_text() for page in read(made).pages)


def rows_of(text: str) -> list[list[str]]:
    """The numbers of each line, in the order of the columns: its place, quantity, unit price, before and after."""
    told = [line for line in text.splitlines() if re.match(r"[0-9]+ .*[a-z]", line) and " / " in line]
    return [[each.replace(",", "").replace("\u2212", "-") for each in NUMBER.findall(line)] for line in told]


def numbers_of(text: str, label: str) -> list[str]:
    """The numbers beside a label among the sums."""
    (line,) = [line for line in text.splitlines() if re.fullmatch(rf"{label} [\u2212,.0-9 ]+", line)]
    return [each.replace(",", "").replace("\u2212", "-") for each in NUMBER.findall(line.removeprefix(label))]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    quantities=st.lists(st.integers(1, 10**12), min_size=1, max_size=12),
    price=st.decimals(min_value="0.000001", max_value=10**6, places=6),
    currency=st.sampled_from(CURRENCIES),
)
@example(quantities=[10**12 - 1] * 2, price=Decimal("999999.999999"), currency="KWD")
def test_every_number_is_the_document_s(quantities: Sequence[int], price: Decimal, currency: str) -> None:
    used = [
        project("Web", n % 3 + 1, model=f"m{n}", unit_price=price, quantity=count, worth=price * count / 10**6)
        for n, count in enumerate(quantities)
    ]
    said = issued(an_invoice(*used, spent("0.5"), currency=currency))

    told, text = json.loads(said), text_of(pdf.pdf_of(said))

    assert rows_of(text) == [
        [str(line["n"]), str(line["quantity"]), line["unit_price"], line["amount_exact"], line["amount"]]
        for line in told["lines"]
        if line["type"] == "usage"
    ]
    assert numbers_of(text, "Usage") == [told["subtotal_exact"], told["subtotal"]]
    assert numbers_of(text, "Credits") == [told["credits_exact"], told["credits"]]
    assert numbers_of(text, f"Total {currency}") == [told["total_exact"], told["total"]]
    assert numbers_of(text, "Rounding") == [told["rounding"]] if Decimal(told["rounding"]) else "Rounding" not in text


def test_the_file_holds_the_document_byte_for_byte_and_says_what_it_is() -> None:
    said = issued(an_invoice(project("\u682a\u5f0f\u4f1a\u793e", 1), name="Gr\u00fc\u00dfe \u202e\U00013000"))

    file = read(pdf.pdf_of(said))

    assert file.attachments == {"TG-2026-000042.json": [said.encode()]}
    assert [each.get_object()["/AFRelationship"] for each in part_of(file, "/AF")] == ["/Data"]
    assert part_of(file, "/Lang") == "en"
    assert file.metadata is not None
    assert file.metadata.title == "Invoice TG-2026-000042"
    assert file.metadata.creation_date is not None
    assert file.metadata.creation_date.isoformat() == "2026-12-01T00:00:00+00:00"
    described = part_of(file, "/Metadata").get_data().decode()
    assert "<pdfaid:part>3</pdfaid:part><pdfaid:conformance>B" in re.sub(r">\s+<", "><", described)


def test_fonts_are_embedded_and_none_is_the_system_s() -> None:
    file = read(pdf.pdf_of(issued(an_invoice(*[project(name, n) for n, name in enumerate(HOSTILE, 1)]))))

    pages: Any = file.pages
    fonts = [font for page in pages for font in page["/Resources"]["/Font"].values()]
    descriptors = [font["/DescendantFonts"][0]["/FontDescriptor"] for font in fonts]
    names = {descriptor["/FontName"] for descriptor in descriptors}
    assert {re.sub(r"^/[A-Z]{6}\+|-.*", "", name) for name in names} >= {"NotoSans", "NotoSansCJKkr", "NotoSansArabic"}
    assert all("Noto" in name for name in names)
    assert all({"/FontFile2", "/FontFile3"} & descriptor.keys() for descriptor in descriptors)


def test_what_customers_write_is_shown_and_never_run() -> None:
    used = [project(name, n, model=name) for n, name in enumerate(HOSTILE, 1)]

    text = re.sub(r"\s", "", text_of(pdf.pdf_of(issued(an_invoice(*used, name=HOSTILE[0])))))

    for name in (*HOSTILE[:3], HOSTILE[6]):
        assert text.count(name.replace(" ", "")) >= 2
    assert text.count("[U+202E]0.00[U+2066]x[U+2069][U+0007][U+001B][31m[U+FFFE][U+E000][U+E0041]") == 2
    assert text.count("a[U+0951]\u05e9[U+0951][U+13000]") == 2
    assert "root:" not in text


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(min_size=1, max_size=40), min_size=12, max_size=12))
def test_no_name_stops_an_invoice(names: Sequence[str]) -> None:
    said = json.loads(issued(an_invoice(usage("1"))))
    (line,) = said["lines"]
    said["lines"] = [{**line, "model": name, "project": {"name": name}} for name in names]

    assert "Total USD" in text_of(pdf.pdf_of(json.dumps(said)))


def test_what_typst_refuses_after_all_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "legible", lambda text, _fonts: text)

    text = text_of(pdf.pdf_of(issued(an_invoice(project("a\u00e4\x07\ue000", 1)))))

    assert "a[U+00E4][U+0007][U+E000]" in text


def test_a_reason_of_ten_thousand_characters_goes_on_over_pages() -> None:
    drafted = an_invoice(usage("1"))
    reason = ("for what went wrong in March, " * 300 + "x" * 1000)[:10_000]
    adjusted = Adjusted(AdjustmentId(UUID(int=5)), reason)
    line = replace(drafted.lines[0], n=2, type=LineType.ADJUSTMENT, usage=None, adjusted=adjusted)

    file = read(pdf.pdf_of(issued(replace(drafted, lines=(*drafted.lines, line)))))

    assert len(file.pages) > 2
    text = re.sub(r"\s", "", "".join(page.extract_text() for page in file.pages))
    assert text.count("March,") == 300
    assert text.count("x") >= 1000


def test_hundreds_of_lines_have_their_titles_on_every_page() -> None:
    used = [project("Web" if n % 2 else "Search", n % 2 + 1, model=f"m{n // 4:03}") for n in range(240)]

    pages = [page.extract_text() for page in read(pdf.pdf_of(issued(an_invoice(*used)))).pages]

    assert len(pages) > 5
    for n, page in enumerate(pages, 1):
        assert f"{n} / {len(pages)}" in page
        if re.search(r"^[0-9]+ Prompt tokens", page, re.MULTILINE):
            assert "Unit price Before rounding Amount USD" in page
            assert re.search(r"^(Web|Search)$", page, re.MULTILINE)


def test_a_draft_is_marked_and_has_no_number() -> None:
    drafted = an_invoice(project("Web", 1), usage("0", kind=Kind.WEB_SEARCH, unit=None, unit_price=None, quantity=7))

    file = read(pdf.pdf_of(document.write(drafted)))
    text = file.pages[0].extract_text()

    assert "Draft invoice" in text
    assert "DRAFT" in text
    assert "openai/gpt-4.1-mini: 7 web search" in text
    assert "TG-" not in text
    assert file.metadata is not None
    assert file.metadata.title == "Draft invoice"
    assert list(file.attachments) == ["draft.json"]


def test_late_usage_says_when_it_was_used() -> None:
    text = text_of(pdf.pdf_of(issued(an_invoice(project("Web", 1), project("Web", 1, origin=OCTOBER)))))

    assert "Used in October 2026, recorded after its invoice" in text


def test_a_credit_note_names_its_invoice() -> None:
    note = a_credit_note(written(usage("100"), tax=a_tax("exclusive"), issuer=ISSUER, customer=CUSTOMER))

    file = read(pdf.pdf_of(note))

    assert file.metadata is not None
    assert (file.metadata.title, file.metadata.author) == ("Credit note CN-2026-000003", "Tollgate GmbH")
    assert list(file.attachments) == ["CN-2026-000003.json"]
    assert "\N{MINUS SIGN}100.00 USD TG-2026-000007 November 2026" in file.pages[0].extract_text()


def test_the_template_takes_nothing_from_elsewhere() -> None:
    template = (Path(pdf.__file__).parent / "templates" / "document.typ").read_text()

    assert re.findall(r"#?\b(?:import|include|read|image|eval|plugin)\b", re.sub(r"//.*", "", template)) == []
