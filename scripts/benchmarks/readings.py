"""What is asked about a generated month over REST, and what each answer must be."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from scripts.benchmarks import group, months
from scripts.benchmarks.group import BenchFailed, Caller
from scripts.benchmarks.months import Plan

from tollgate.infra import web
from tollgate.invoices.model import Month
from tollgate.invoices.rules import windows
from tollgate.kit import ids
from tollgate.kit.ids import OrganizationId, typed

_PAGE = 100
_N = 1
"""Each generated organization is the first, and the only one, of its plan."""


@dataclass(frozen=True, slots=True)
class Size:
    """One generated month: of which organization, and who asks about it."""

    plan: Plan
    organization: OrganizationId
    month: Month
    caller: Caller


@dataclass(frozen=True, slots=True)
class Reading:
    """A question, and the check of its answer."""

    name: str
    path: Callable[[Size], str]
    check: Callable[[Size, Any], bool]
    of_calls: bool = False
    """Whether it reads rows of calls, of which not every month has any."""

    def ask(self, size: Size) -> bytes:
        """The answer as it came."""
        return size.caller.fetch("GET", self.path(size))

    def look_at(self, size: Size, answer: bytes) -> None:
        """Hold an answer against what was generated.

        Raises:
            BenchFailed: it says anything else.
        """
        if not self.check(size, group.read(answer)):
            raise BenchFailed(f"{self.name} of {size.plan.calls_made:,} calls was answered wrongly.")


def _usage(size: Size) -> str:
    return f"/usage?month={size.month.name}&group_by=key&group_by=model"


def _is_usage(size: Size, answer: Any) -> bool:
    plan, calls = size.plan, size.plan.calls_of_a_cell
    prompt, completion = (calls * each for each in months.tokens_of_a_call(_N))
    expected = {
        (typed("key", months.key_id(size.organization, k)), months.model(m)): (
            calls,
            prompt,
            completion,
            plan.amount(_N, m),
        )
        for k, m in plan.cells
    }
    found = {
        (row["key"], row["model"]): (
            row["calls"],
            row["prompt_tokens"],
            row["completion_tokens"],
            Decimal(row["amount"]),
        )
        for row in answer["data"]
    }
    total = answer["total"]
    return found == expected and (total["calls"], Decimal(total["amount"])) == (plan.calls_made, plan.total(_N))


def _draft(size: Size) -> str:
    return f"/invoices/{typed('inv', windows.invoice_id(size.organization, 'USD', size.month))}"


def _is_draft(size: Size, answer: Any) -> bool:
    invoice = answer["data"]
    exact = (len(invoice["lines"]), Decimal(invoice["total_exact"]))
    return exact == (size.plan.lines, size.plan.total(_N))


def _middle(size: Size) -> str:
    """The cursor of a call that could have been accepted in the middle of the month."""
    start = size.month.instants(ZoneInfo("UTC")).start
    return web.cursor(ids.lowest_uuid7(start + timedelta(days=14)))


def _is_page(_: Size, answer: Any) -> bool:
    calls = answer["data"]
    newest_first = [call["id"] for call in calls] == sorted((call["id"] for call in calls), reverse=True)
    return len(calls) == _PAGE and newest_first and all(_is_call(call) for call in calls)


def _is_call(call: Any) -> bool:
    counted = (call["prompt_tokens"], call["completion_tokens"])
    items = sum((Decimal(item["amount"]) for item in call["charge"]["items"]), Decimal(0))
    amount = Decimal(call["charge"]["amount"])
    return counted == months.tokens_of_a_call(_N) and amount == items == months.amount_of_a_call(_N, call["model"])


def _is_explanation(_: Size, answer: Any) -> bool:
    calls = answer["data"]
    oldest_first = [call["id"] for call in calls] == sorted(call["id"] for call in calls)
    exact = all(
        Decimal(call["amount"]) == Decimal(call["quantity"]) * Decimal(call["unit_price"]) / 1_000_000 for call in calls
    )
    one = {(call["model"], call["kind"], call["quantity"]) for call in calls}
    return len(calls) == _PAGE and oldest_first and exact and len(one) == 1


READINGS = (
    Reading("usage by key and model", _usage, _is_usage),
    Reading("draft invoice", _draft, _is_draft),
    Reading("calls, first page", lambda _: f"/calls?limit={_PAGE}", _is_page, of_calls=True),
    Reading(
        "calls, a page of the middle",
        lambda size: f"/calls?limit={_PAGE}&cursor={_middle(size)}",
        _is_page,
        of_calls=True,
    ),
    Reading("calls behind a line", lambda size: f"{_draft(size)}/lines/1/calls", _is_explanation, of_calls=True),
    Reading(
        "calls behind a line, from the middle",
        lambda size: f"{_draft(size)}/lines/{size.plan.lines}/calls?cursor={_middle(size)}",
        _is_explanation,
        of_calls=True,
    ),
)
"""Everything that is asked, in turn."""


def asked_of(size: Size) -> Iterator[Reading]:
    """What can be asked about a month."""
    return (reading for reading in READINGS if size.plan.raw or not reading.of_calls)
