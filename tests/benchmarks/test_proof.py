"""Whatever is wrong with a ledger, a benchmark finds it: a call too many, too few, of others, or at another cost."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest
from scripts.benchmarks.books import Books
from scripts.benchmarks.group import BenchFailed
from scripts.benchmarks.load import Answered
from scripts.benchmarks.proof import Ledger, Record
from scripts.benchmarks.provided import Provided
from scripts.benchmarks.traffic import Told

from tollgate.kit.ids import CallId, OrganizationId

ORGANIZATION, CALL, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
COST = Decimal("0.00009")  # 10 at 1 and 8 at 10 make 90 millionths
PRICES = {"bench": {"prompt": Decimal(1), "completion": Decimal(10)}}
QUANTITIES = {"prompt": 10, "completion": 8}
RECORD = Record(
    ORGANIZATION, CALL, None, "settled", COST, QUANTITIES, "bench", 1, "bench", "chatcmpl-1", failed=0, charged=COST
)
TOLD = Told(0, 0.0, 1.0, str(CALL), "chatcmpl-1", "bench", str(COST))
PROVIDED = Provided("chatcmpl-1", "m", "", QUANTITIES, streamed=False, ended="served")


def ledger(*records: Record, transferred: Decimal | None = None) -> Ledger:
    amount = sum((record.amount for record in records), Decimal(0))
    answered = [Answered(OrganizationId(each.organization_id), CallId(each.call_id), each.amount) for each in records]
    books = Books(Counter(answered), len(records), {"calls": amount, "rollups": amount}, holds=0, held=Decimal(0))
    known = {str(record.call_id): record for record in records}
    return Ledger(known, books, amount if transferred is None else transferred)


def test_a_right_ledger_passes() -> None:
    ledger(RECORD).check([TOLD], [PROVIDED], PRICES)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(RECORD, amount=COST * 2, charged=COST * 2),
        replace(RECORD, charged=Decimal(0)),
        replace(RECORD, quantities={"prompt": 18}),
        replace(RECORD, upstream_id="chatcmpl-2"),
        replace(RECORD, served=2),
        replace(RECORD, served_by="other"),
        replace(RECORD, status="recovered"),
    ],
)
def test_a_record_that_says_anything_else_is_found(wrong: Record) -> None:
    with pytest.raises(BenchFailed, match="is recorded as"):
        ledger(wrong).check([TOLD], [PROVIDED], PRICES)


def test_an_answer_that_is_not_recorded_is_found() -> None:
    with pytest.raises(BenchFailed, match="not in the ledger"):
        ledger().check([TOLD], [PROVIDED], PRICES)
    with pytest.raises(BenchFailed, match="were served and are not recorded"):
        ledger(RECORD).check([TOLD], [PROVIDED, PROVIDED._replace(id="chatcmpl-2")], PRICES)


def test_a_call_that_nobody_was_answered_is_found_unless_somebody_got_no_answer() -> None:
    two = ledger(RECORD, replace(RECORD, call_id=OTHER))
    with pytest.raises(BenchFailed, match="that nobody was answered"):
        two.check([TOLD], [PROVIDED], PRICES)

    two.check([TOLD, Told(0, 0.0, 1.0, problem="the connection was closed")], [PROVIDED], PRICES)


def test_a_call_that_was_answered_twice_is_found() -> None:
    with pytest.raises(BenchFailed, match="told twice"):
        ledger(RECORD).check([TOLD, TOLD], [PROVIDED], PRICES)


def test_a_caller_who_was_told_another_cost_is_found() -> None:
    with pytest.raises(BenchFailed, match="is recorded as"):
        ledger(RECORD).check([TOLD._replace(cost="0.00008")], [PROVIDED], PRICES)


def test_transfers_that_come_to_something_else_are_found() -> None:
    with pytest.raises(BenchFailed, match="Transfers"):
        ledger(RECORD, transferred=Decimal(0)).check([TOLD], [PROVIDED], PRICES)
