"""The API shapes of collection, refunds, disputes and reconciliation."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Struct

from tollgate.infra.web import Amount, Body, Paging
from tollgate.kit.ids import typed, typed_or_none
from tollgate.kit.money import amount_text
from tollgate.payments.states import (
    Collection,
    CollectionMode,
    CollectionSettings,
    CollectionState,
    Difference,
    DisputeRow,
    Overview,
    Reconciliation,
    RefundRow,
    RefundStatus,
    Unlike,
)


class CollectionsQuery(Paging, kw_only=True, frozen=True):
    """Which collections to list."""

    state: CollectionState | None = None


class SetCollection(Body, kw_only=True, frozen=True):
    """How an organization's invoices are collected; null: automatic if it stored something to pay with, else sent."""

    mode: CollectionMode | None


class RefundOrder(Body, kw_only=True, frozen=True):
    """What goes back of an invoice: all that the customer is to get back, if no amount is said."""

    amount: Amount | None = None
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] | None = None


class CollectionSettingsView(Struct, kw_only=True, frozen=True):
    """How an organization is collected from, and whether it is suspended because it did not pay."""

    mode: CollectionMode | None
    suspended_at: datetime | None

    @classmethod
    def of(cls, settings: CollectionSettings) -> "CollectionSettingsView":
        return cls(mode=settings.mode, suspended_at=settings.suspended_at)


class CollectionView(Struct, kw_only=True, frozen=True):
    """How far the collection of an invoice is."""

    invoice: str
    organization: str
    state: CollectionState
    parked_reason: str | None
    stripe_invoice: str | None
    attempts: int
    failures: int
    last_error: str | None
    past_due_at: datetime | None
    suspended_at: datetime | None
    next_at: datetime | None
    updated_at: datetime

    @classmethod
    def of(cls, collection: Collection) -> "CollectionView":
        return cls(
            invoice=typed("inv", collection.invoice_id),
            organization=typed("org", collection.organization_id),
            state=collection.state,
            parked_reason=collection.parked_reason,
            stripe_invoice=collection.mirror.invoice_id,
            attempts=collection.dunning.attempts,
            failures=collection.dunning.failures,
            last_error=collection.last_error,
            past_due_at=collection.dunning.past_due_at,
            suspended_at=collection.dunning.suspended_at,
            next_at=collection.next_at if collection.state is CollectionState.OPEN else None,
            updated_at=collection.updated_at,
        )


class RefundView(Struct, kw_only=True, frozen=True):
    """Money that goes back to a customer."""

    id: str
    organization: str
    invoice: str | None
    top_up: str | None
    amount: str
    currency: str
    status: RefundStatus
    begun_here: bool
    stripe_refund: str | None
    reason: str | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, refund: RefundRow) -> "RefundView":
        return cls(
            id=typed("re", refund.id),
            organization=typed("org", refund.organization_id),
            invoice=typed_or_none("inv", refund.invoice_id),
            top_up=typed_or_none("tup", refund.top_up_id),
            amount=amount_text(refund.amount),
            currency=refund.currency,
            status=refund.status,
            begun_here=refund.is_ours,
            stripe_refund=refund.stripe_refund_id,
            reason=refund.reason,
            last_error=refund.last_error,
            created_at=refund.created_at,
            updated_at=refund.updated_at,
        )


class DisputeView(Struct, kw_only=True, frozen=True):
    """A payment that a customer's bank took back."""

    stripe_dispute: str
    organization: str
    invoice: str | None
    top_up: str | None
    amount: str
    currency: str
    status: str
    reason: str
    withdrawn: str
    returned: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, dispute: DisputeRow) -> "DisputeView":
        return cls(
            stripe_dispute=dispute.stripe_dispute_id,
            organization=typed("org", dispute.organization_id),
            invoice=typed_or_none("inv", dispute.invoice_id),
            top_up=typed_or_none("tup", dispute.top_up_id),
            amount=amount_text(dispute.amount),
            currency=dispute.currency,
            status=dispute.status,
            reason=dispute.reason,
            withdrawn=amount_text(dispute.withdrawn),
            returned=amount_text(dispute.returned),
            created_at=dispute.created_at,
            updated_at=dispute.updated_at,
        )


class DifferenceView(Struct, kw_only=True, frozen=True):
    """One thing in which our books and Stripe's differ."""

    kind: Unlike
    organization: str | None
    what: str
    ours: str | None
    stripes: str | None

    @classmethod
    def of(cls, difference: Difference) -> "DifferenceView":
        return cls(
            kind=difference.kind,
            organization=difference.organization,
            what=difference.what,
            ours=difference.ours,
            stripes=difference.stripes,
        )


class ReconciliationView(Struct, kw_only=True, frozen=True):
    """What came of comparing our books with Stripe's."""

    began_at: datetime
    finished_at: datetime
    since: datetime
    compared: Mapping[str, int]
    repaired: int
    differences: list[DifferenceView]

    @classmethod
    def of(cls, found: Reconciliation) -> "ReconciliationView":
        return cls(
            began_at=found.began_at,
            finished_at=found.finished_at,
            since=found.since,
            compared=found.compared,
            repaired=found.repaired,
            differences=[DifferenceView.of(each) for each in found.differences],
        )


class PaymentsView(Struct, kw_only=True, frozen=True):
    """How payments stand: is Stripe set up, what waits, what a person has to look at, what differed last."""

    stripe: bool
    collections: Mapping[str, int]
    oldest_due_at: datetime | None
    reconciled_at: datetime | None
    differences: int | None

    @classmethod
    def of(cls, found: Overview, *, stripe: bool) -> "PaymentsView":
        last = found.last
        return cls(
            stripe=stripe,
            collections=found.collections,
            oldest_due_at=found.oldest_due_at,
            reconciled_at=None if last is None else last.finished_at,
            differences=None if last is None else len(last.differences),
        )
