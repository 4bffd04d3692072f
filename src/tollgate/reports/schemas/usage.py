"""The API shapes of usage reports, as JSON and as CSV."""

import csv
import io
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.reports.model import Dimension, Granularity, Usage, UsageQuestion, UsageReport
from tollgate.reports.rules import safe_cell
from tollgate.reports.schemas.selection import Selection

_ID_PREFIX = {Dimension.PROJECT: "prj", Dimension.KEY: "key"}


class UsageParameters(Selection, kw_only=True, frozen=True):
    """What a usage report is of. With no time named, the current month."""

    granularity: Granularity = Granularity.TOTAL
    group_by: tuple[Dimension, ...] = ()
    format: Literal["json", "csv", "parquet"] = "json"

    def question(self) -> UsageQuestion:
        return UsageQuestion(
            asked=self.asked(),
            granularity=self.granularity,
            group_by=tuple(dict.fromkeys(self.group_by)),
            filters=self.filters(),
        )


class Amounts(Struct, kw_only=True, frozen=True):
    """What was used and what it cost. `calls` is `null` where there are only kinds that calls are not counted by."""

    calls: int | None
    quantities: dict[Kind, int] | UnsetType = UNSET
    quantity: int | UnsetType = UNSET
    """Instead of `quantities`, where rows are grouped by kind."""
    prompt_tokens: int
    completion_tokens: int
    amount: str
    currency: str


class UsageRow(Amounts, kw_only=True, frozen=True):
    """One group in one piece of time; only what was grouped by is there."""

    start: datetime
    end: datetime
    project: str | UnsetType | None = UNSET
    key: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    kind: Kind | UnsetType = UNSET
    user: str | UnsetType | None = UNSET
    tag: str | UnsetType | None = UNSET

    @classmethod
    def of(cls, usage: Usage, currency: str) -> "UsageRow":
        # UNSET leaves a field out of the answer, so a row says only what its report is grouped by.
        return cls(start=usage.period.start, end=usage.period.end, **_group(usage), **_amounts(usage, currency))


class UsageView(Struct, kw_only=True, frozen=True):
    """A usage report. With `tag` among the groups a call is in a row for each tag of its key, but once in `total`."""

    data: list[UsageRow]
    total: Amounts
    start: datetime
    end: datetime
    timezone: str
    granularity: Granularity

    @classmethod
    def of(cls, report: UsageReport) -> "UsageView":
        query = report.query
        return cls(
            data=[UsageRow.of(usage, report.currency) for usage in report.rows],
            total=Amounts(**_amounts(report.total, report.currency)),
            start=query.window.start,
            end=query.window.end,
            timezone=query.zone.key,
            granularity=query.granularity,
        )


def _group(usage: Usage) -> dict[str, Any]:
    return {dimension.value: _shown(dimension, value) for dimension, value in usage.group.items()}


def _shown(dimension: Dimension, value: str | UUID | None) -> str | None:
    return typed(_ID_PREFIX[dimension], value) if isinstance(value, UUID) else value


def _amounts(usage: Usage, currency: str) -> dict[str, Any]:
    quantities = dict(usage.quantities)
    by_kind = Dimension.KIND in usage.group
    return {
        "calls": usage.calls,
        "quantities": UNSET if by_kind else quantities,
        "quantity": sum(quantities.values()) if by_kind else UNSET,
        "prompt_tokens": usage.quantities.prompt_tokens,
        "completion_tokens": usage.quantities.completion_tokens,
        "amount": amount_text(usage.amount),
        "currency": currency,
    }


def usage_csv(report: UsageReport) -> str:
    """The rows of the report with a header, one column per kind unless the rows are grouped by kind."""
    groups = [dimension.value for dimension in report.query.group_by]
    kinds = ["quantity"] if Dimension.KIND in report.query.group_by else list(Kind)
    figures = ["prompt_tokens", "completion_tokens", "amount", "currency"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, ["start", "end", *groups, "calls", *kinds, *figures], restval="", extrasaction="ignore"
    )
    writer.writeheader()
    writer.writerows(_csv_row(usage, report.currency) for usage in report.rows)
    return text.getvalue()


def _csv_row(usage: Usage, currency: str) -> dict[str, object]:
    group = {name: safe_cell(value) for name, value in _group(usage).items() if value is not None}
    start, end = (instant.strftime("%Y-%m-%dT%H:%M:%SZ") for instant in (usage.period.start, usage.period.end))
    return {"start": start, "end": end} | group | dict(usage.quantities) | _amounts(usage, currency)
