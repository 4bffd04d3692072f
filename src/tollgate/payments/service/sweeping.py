"""What is due, and doing all of it: each thing in a turn of its own, and none stopped by another's failure."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tollgate.infra import telemetry
from tollgate.kit.errors import TollgateError
from tollgate.kit.ids import InvoiceId, OrganizationId
from tollgate.payments.service import collecting, returning
from tollgate.payments.service.means import Means
from tollgate.payments.states import Collection, RefundRow
from tollgate.payments.store import collections as store
from tollgate.payments.store import returns

_PAGE = 500

_log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]
"""Called with how many are done, and how many there are."""


def _quietly(done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What came of one sweep."""

    collections: Sequence[Collection]
    refunds: Sequence[RefundRow]


async def due_collections(means: Means) -> list[tuple[OrganizationId, InvoiceId]]:
    """The invoices to do something about now, the longest due first."""
    async with means.database.read() as session:
        return await store.due(session, now=means.clock.now(), count=_PAGE)


async def due_refunds(means: Means) -> list[tuple[OrganizationId, UUID]]:
    """The refunds to ask Stripe about now, the longest due first."""
    if means.door is None:
        return []
    async with means.database.read() as session:
        return await returns.due_refunds(session, now=means.clock.now(), count=_PAGE)


async def sweep(means: Means, *, progress: Progress = _quietly) -> Swept:
    """Do what is due now, once; any number of processes may."""
    await tell_of_wait(means)
    collected, refunded = [], []
    collections, refunds = await due_collections(means), await due_refunds(means)
    total = len(collections) + len(refunds)
    for place, (owner, invoice_id) in enumerate(collections):
        progress(place, total)
        with left_for_later(invoice_id):
            done = await collecting.collect(means, organization_id=owner, invoice_id=invoice_id)
            collected += [] if done is None else [done]
    for place, (owner, refund_id) in enumerate(refunds):
        progress(len(collections) + place, total)
        with left_for_later(refund_id):
            refund = await returning.go_on(means, organization_id=owner, refund_id=refund_id)
            refunded += [] if refund is None else [refund]
    return Swept(collected, refunded)


@contextmanager
def left_for_later(row: UUID) -> Iterator[None]:
    """What could not be written down is due again once its lease is over."""
    try:
        yield
    except (TollgateError, SQLAlchemyError) as error:
        telemetry.COLLECTION_ERRORS.labels(type(error).__name__).inc()
        _log.warning("collection.failed", row=str(row), error=str(getattr(error, "orig", error)))


async def tell_of_wait(means: Means) -> None:
    """Keep the gauge of the longest wait at what is so."""
    now = means.clock.now()
    async with means.database.read() as session:
        _, oldest = await store.counts(session, now=now)
    telemetry.COLLECTION_WAIT.set(0 if oldest is None else max(0, (now - oldest).total_seconds()))
