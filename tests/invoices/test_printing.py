"""Files are made by processes of their own, which are given nothing, may take little time, and may fail."""

import sys
from typing import Any

import pytest
from tests.invoices.test_pdf import an_invoice, issued, project

from tollgate.infra import telemetry
from tollgate.invoices import pdf
from tollgate.invoices.printing import Printer
from tollgate.kit.errors import Unavailable


def running(code: str, **patience: Any) -> Printer:
    return Printer(program=(sys.executable, "-c", code), **patience)


def failures(reason: str) -> float:
    count: float = telemetry.PDF_FAILURES.labels(reason)._value.get()
    return count


async def test_another_process_makes_the_same_bytes() -> None:
    document = issued(an_invoice(project("\u682a\u5f0f\u4f1a\u793e \U0001f600 \x07", 1)))

    assert await Printer().pdf_of(document) == pdf.pdf_of(document)


async def test_it_is_given_the_document_and_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLGATE_DATABASE_URL", "postgresql://secret")
    code = "import os, sys; print(sys.stdin.read(), [name for name in os.environ if name != 'LC_CTYPE'])"

    assert await running(code).pdf_of("said") == b"said []\n"


@pytest.mark.parametrize(
    ("printer", "reason"),
    [
        (running("raise SystemExit(3)"), "failed"),
        (running("import os; os.abort()"), "failed"),
        (running("import time; time.sleep(60)", work_seconds=0), "late"),
        (running("", at_once=0, turn_seconds=0), "busy"),
    ],
)
async def test_what_goes_wrong_is_counted_and_may_be_tried_again(printer: Printer, reason: str) -> None:
    before = failures(reason)

    with pytest.raises(Unavailable) as refused:
        await printer.pdf_of("said")

    assert refused.value.retry_after_seconds is not None
    assert failures(reason) == before + 1


async def test_a_turn_is_given_back_whatever_became_of_it() -> None:
    printer = running("import sys; sys.exit(len(sys.stdin.read()))", turn_seconds=5)
    with pytest.raises(Unavailable):
        await printer.pdf_of("x")

    assert await printer.pdf_of("") == b""
