"""Allowance: what may be spent while the ledger is away and nobody can say what is left."""

from decimal import Decimal

from tollgate.kit import money
from tollgate.kit.ids import CallId, OrganizationId
from tollgate.metering.model import Admission, AdmissionRequest

_WITHOUT_MEANS = frozenset({"balance", "organization", "currency"})
_MONEY = frozenset({"total", "daily", "weekly", "monthly"})


class OfflineAllowance:
    """So much for each organization, in each process and each outage; nothing for those last seen without means.

    What is spent of it is settled when the ledger is back, and then counts against balance and limits as always.
    """

    def __init__(self, amount: Decimal) -> None:
        self._amount = amount
        self._left: dict[OrganizationId, Decimal] = {}
        self._taken: dict[CallId, Decimal] = {}

    def answered(self, organization_id: OrganizationId, answer: Admission) -> None:
        """The ledger is there, and says whether this organization may spend; a key's own limits say nothing of that."""
        if not self._amount:
            return
        if answer.outcome == "admitted":
            self._left[organization_id] = self._amount
        elif answer.outcome in _WITHOUT_MEANS or (answer.scope == "organization" and answer.outcome in _MONEY):
            self._left.pop(organization_id, None)

    def take(self, request: AdmissionRequest) -> Decimal | None:
        """What a call may cost while the ledger is away; `None` if the allowance does not carry it."""
        left = self._left.get(request.organization_id)
        if left is None or left < request.hold_least:
            return None
        taken = min(left, request.hold_most)
        if not request.only_asks:
            self._left[request.organization_id] = money.EXACT.subtract(left, taken)
            self._taken[request.call_id] = taken
        return taken

    def carries(self, call_id: CallId) -> bool:
        """Whether a call is under way on it."""
        return call_id in self._taken

    def settled(self, organization_id: OrganizationId, call_id: CallId, amount: Decimal) -> None:
        """A call has ended: what it took of the allowance and did not use may be spent by others."""
        if not self._taken:
            return
        taken = self._taken.pop(call_id, None)
        left = self._left.get(organization_id)
        if taken is not None and left is not None and taken > amount:
            given_back = money.EXACT.subtract(taken, amount)
            self._left[organization_id] = min(money.EXACT.add(left, given_back), self._amount)
