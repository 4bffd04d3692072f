"""The ledger's decisions that need no database: what may be granted, voided and adjusted, and by which transfers."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tollgate.kit import ids, instants
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import GrantId, KeyId, OrganizationId
from tollgate.ledger.model import (
    AMOUNT_MAX,
    Adjustment,
    AdjustmentOrder,
    Grant,
    GrantCategory,
    GrantTerms,
    Transfer,
    credits_of,
)


def check_terms(terms: GrantTerms, now: datetime) -> None:
    """A grant is more than nothing and not beyond reckoning, and expires after it is made.

    Raises:
        InvalidRequest: it is not; `field` says which.
    """
    if terms.amount <= 0:
        raise InvalidRequest("A grant is more than nothing.", field="amount")
    _check_size(terms.amount)
    if terms.expires_at is None:
        return
    instants.check(terms.expires_at, "expires_at")
    if terms.expires_at <= now:
        raise InvalidRequest("A grant expires after it is made.", field="expires_at")


def _check_size(amount: Decimal) -> None:
    if amount.copy_abs() > AMOUNT_MAX:
        raise InvalidRequest(f"An amount is {AMOUNT_MAX} at most.", field="amount")


def check_same_terms(known: Grant, terms: GrantTerms) -> None:
    """A reference stands for one grant: told again, it is of the same terms.

    Raises:
        Conflict: some differ.
    """
    differing = [name for name in GrantTerms.__slots__ if getattr(known, name) != getattr(terms, name)]
    if differing:
        raise Conflict(
            f"The reference {terms.reference!r} stands for another grant, {ids.typed('grt', known.id)}: "
            f"it differs in {', '.join(differing)}.",
            field="reference",
            metadata={"grant": ids.typed("grt", known.id), "differing": differing},
        )


def check_voidable(grant: Grant, now: datetime) -> None:
    """Only a grant of which something is left can be voided, and only before it expires.

    Raises:
        Conflict: nothing is left of it, or it has expired.
    """
    if grant.expires_at is not None and grant.expires_at <= now:
        raise Conflict(f"The grant expired at {grant.expires_at.isoformat()}: there is nothing to void.")
    if grant.remaining == 0:
        raise Conflict("The grant is used up: there is nothing to void.")


def check_adjustment(order: AdjustmentOrder) -> None:
    """An adjustment is more or less than nothing, and not beyond reckoning.

    Raises:
        InvalidRequest: it is not.
    """
    if order.amount == 0:
        raise InvalidRequest("An adjustment of nothing adjusts nothing.", field="amount")
    _check_size(order.amount)


def funding(grant: Grant, source: str | None = None) -> Transfer:
    """The transfer that a grant is made of; from its category's account, unless it says from which.

    A void gives back to the account it debits.
    """
    return _from(source or grant.category.source, grant, cause="grant", cause_id=grant.id)


def favour_funding(grant: Grant, adjustment: Adjustment) -> Transfer:
    """The transfer that the grant of an adjustment in the customer's favour is made of."""
    return _from(grant.category.source, grant, cause="adjustment", cause_id=adjustment.id)


def _from(source: str, grant: Grant, *, cause: str, cause_id: UUID) -> Transfer:
    return Transfer(
        organization_id=grant.organization_id,
        id=ids.derived_id(grant.id, "grant"),
        debit_account=source,
        credit_account=credits_of(grant.id),
        amount=grant.amount,
        currency=grant.currency,
        cause=cause,
        cause_id=cause_id,
        reverses_id=None,
        occurred_at=grant.created_at,
        posted_at=grant.created_at,
    )


def granted(terms: GrantTerms, owner: OrganizationId, grant_id: GrantId, *, by: KeyId | None, now: datetime) -> Grant:
    """A new grant on these terms, of which all remains."""
    return Grant(
        organization_id=owner,
        id=grant_id,
        category=terms.category,
        priority=terms.priority,
        amount=terms.amount,
        remaining=terms.amount,
        currency=terms.currency,
        reason=terms.reason,
        expires_at=terms.expires_at,
        created_at=now,
        created_by=by,
        reference=terms.reference,
    )


def favour_grant(adjustment: Adjustment) -> Grant:
    """The grant that an adjustment in the customer's favour is: given, of ordinary priority, for ever.

    So what would expire burns before it, and what was paid for after it.
    """
    terms = GrantTerms(adjustment.amount, adjustment.currency, GrantCategory.PROMOTIONAL, adjustment.reason)
    owner, made_at = adjustment.organization_id, adjustment.created_at
    return granted(terms, owner, GrantId(adjustment.id), by=adjustment.created_by, now=made_at)
