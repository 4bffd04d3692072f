"""What must be in the tables, added up from the model, and where the tables say otherwise."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from tests.books.model import BEFORE_ALL, NEVER, NO_WINDOWS, NOTHING, Call, Organization

Rows: TypeAlias = Mapping[Any, Mapping[str, Any]]

_BLANK = {
    **{f"{window}_{part}": NOTHING for window in ("total", "day", "week", "month") for part in ("used", "held")},
    **{f"{window}_start": BEFORE_ALL for window in NO_WINDOWS},
    **dict.fromkeys(("minute_requests", "minute_tokens", "concurrent", "invoice_cut"), 0),
}
"""A counter that nothing moved yet, which is as good as none."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The rows of some organizations, by what names them."""

    holds: Rows
    counters: Rows
    grants: Rows
    accounts: Rows
    sums: Rows
    """Calls by the cut they belong to, and what rollups and transfers make of them."""


def expected(organizations: Iterable[Organization]) -> Figures:
    """What the model makes of everything that happened."""
    holds: dict[Any, dict[str, Any]] = {}
    counters: dict[Any, dict[str, Any]] = {}
    grants: dict[Any, dict[str, Any]] = {}
    accounts: dict[Any, dict[str, Any]] = {}
    sums: dict[Any, dict[str, Any]] = {}
    for each in organizations:
        for call_id, hold in each.holds.items():
            holds[call_id] = {
                "organization_id": each.id,
                "amount": hold.amount,
                "tokens": hold.request.tokens,
                **{f"{window}_start": start for window, start in hold.windows.items()},
                "is_lost": hold.is_lost,
                "has_letter": hold.letter is not None,
            }
        counters.update(_counters(each))
        for grant in each.grants:
            grants[grant.id] = {
                "amount": grant.amount,
                "remaining": grant.remaining,
                "burned": grant.burned,
                "unused": grant.expired + grant.voided,
                "is_closed": grant.is_closed,
                "voided_at": grant.voided_at,
                "ends_at": None if grant.ends_at == NEVER else grant.ends_at,
            }
        for account in each.debits:
            accounts[each.id, account] = {"debits": each.debits[account], "credits": each.credits[account]}
        for cut in {call.cut for call in each.calls.values()}:
            sums[each.id, cut] = _sums([call for call in each.calls.values() if call.cut == cut])
    return Figures(holds, counters, grants, accounts, sums)


def _counters(organization: Organization) -> dict[Any, dict[str, Any]]:
    rows: dict[Any, dict[str, Any]] = {}
    for scope, windows in organization.opened.items():
        row: dict[str, Any] = {f"{window}_start": start for window, start in windows.items()}
        for name, window in {"total": None, "day": "day", "week": "week", "month": "month"}.items():
            row[f"{name}_used"] = organization.used(scope, window, windows)
            row[f"{name}_held"] = organization.held(scope, window, windows)
        row["minute_requests"] = organization.requests(scope, windows["minute"])
        row["minute_tokens"] = organization.tokens(scope, windows["minute"])
        row["concurrent"] = len(organization.holds_of(scope))
        rows[scope] = {**row, "invoice_cut": 0}
    rows.setdefault(organization.id, dict(_BLANK))["invoice_cut"] = organization.cut
    return rows


def _sums(calls: list[Call]) -> dict[str, Any]:
    amount = sum((call.record.amount for call in calls), NOTHING)
    from_credits = sum((call.from_credits for call in calls), NOTHING)
    return {
        "calls": len(calls),
        "amount": amount,
        "credits": from_credits,
        "overrun": sum((call.overrun for call in calls), NOTHING),
        "rolled_calls": len(calls),
        "rolled_amount": amount,
        "rolled_credits": from_credits,
        "transferred": amount,
        "transferred_credits": from_credits,
    }


def differences(should_be: Figures, found: Figures) -> list[str]:
    """In words, what the tables say that the model does not, or the other way round."""
    return [
        difference
        for table in Figures.__slots__
        for difference in _in_table(table, getattr(should_be, table), getattr(found, table))
    ]


def _in_table(table: str, wanted: Rows, found: Rows) -> Iterable[str]:
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        blank: Mapping[str, Any] = _BLANK if table == "counters" else {}
        should, does = wanted.get(name, blank), found.get(name, blank)
        for column in dict.fromkeys([*should, *does]):
            if should.get(column) != does.get(column):
                yield (
                    f"{table} {name}: {column} should be {_told(should.get(column))}, and is {_told(does.get(column))}"
                )


def _told(value: Any) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) and value.is_finite() else str(value)


def call_rows(organizations: Iterable[Organization]) -> dict[Any, tuple[Any, ...]]:
    """What each call must have left: id, amount, what credits paid, overrun, cut."""
    return {
        call_id: (call_id, call.record.amount, call.from_credits, call.overrun, call.cut)
        for each in organizations
        for call_id, call in each.calls.items()
    }


def broken_promises(organizations: Iterable[Organization]) -> list[str]:
    """Who owes more than its credit limit, though it was charged nothing that had not been held."""
    return [
        f"{each.id} owes {each.owed}, with a credit limit of {each.credit_limit}"
        for each in organizations
        if each.keeps_within and each.credit_limit is not None and each.owed > each.credit_limit
    ]
