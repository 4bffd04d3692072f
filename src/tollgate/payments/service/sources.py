"""What a payment at Stripe paid for: an invoice, or a top-up; and how what was credited for a top-up is taken back."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import PaymentKind
from tollgate.invoices.service import payments as invoice_payments
from tollgate.kit import money
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import OrganizationId, typed
from tollgate.ledger import service as ledger
from tollgate.ledger.model import REFUNDABLE, Grant, GrantCategory, GrantTerms, Transfer, grant_of
from tollgate.payments.records import TopUp
from tollgate.payments.rules import refunding
from tollgate.payments.rules import top_ups as top_up_rules
from tollgate.payments.service import collecting, top_ups
from tollgate.payments.service.means import Means
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.states import DisputeRow, Paid, RefundRow
from tollgate.payments.store import collections as store
from tollgate.payments.store import returns
from tollgate.payments.store import top_ups as top_up_store
from tollgate.payments.stripe_client import StripeClient


async def paid_by(means: Means, payment_intent_id: str) -> Paid | None:
    """What the payment paid for; one that we have not heard of is looked for and written down first."""
    async with means.database.read() as session:
        found = await _known(session, payment_intent_id)
    if found is not None or means.door is None:
        return found
    stripe_invoice_id = await means.door.invoice_of(payment_intent_id)
    if stripe_invoice_id is None:
        await _look_after_top_up(means, means.door, payment_intent_id)
    else:
        await _collect(means, stripe_invoice_id)
    async with means.database.read() as session:
        return await _known(session, payment_intent_id)


async def _collect(means: Means, stripe_invoice_id: str) -> None:
    async with means.database.write() as session:
        mirrored = await store.mirrored_by(session, stripe_invoice_id)
        await store.wake(session, stripe_invoice_id=stripe_invoice_id)
    if mirrored is not None:
        await collecting.collect(means, organization_id=mirrored.organization_id, invoice_id=mirrored.invoice_id)


async def _look_after_top_up(means: Means, door: StripeClient, payment_intent_id: str) -> None:
    named = top_up_rules.named_in((await door.payment_intent(payment_intent_id)).metadata)
    if named is None:
        return
    try:
        at = Surroundings(means.database, door, means.clock, means.policy)
        await top_ups.look_after(at, organization_id=named[0], top_up_id=named[1])
    except NotFound:
        return


async def _known(session: ReadSession, payment_intent_id: str) -> Paid | None:
    for payment in await invoice_payments.at_stripe(session, references=[payment_intent_id]):
        if payment.kind is PaymentKind.PAYMENT:
            return Paid(
                payment.organization_id,
                payment_intent_id,
                payment.amount,
                payment.currency,
                invoice_id=payment.invoice_id,
            )
    for top_up in await top_up_store.paid_by(session, [payment_intent_id]):
        return Paid(top_up.organization_id, payment_intent_id, top_up.total, top_up.currency, top_up_id=top_up.id)
    return None


async def take_back(session: WriteSession, paid: Paid, row: RefundRow | DisputeRow, *, now: datetime) -> Decimal:
    """Take what went back from the top-up's grant and from what is kept, as far as they last; the rest is owed.

    Answers what was taken from the grant. The caller holds the organization's lock.
    """
    top_up, grant = await _bought(session, paid)
    kept = await ledger.balance(session, organization_id=row.organization_id, account=REFUNDABLE, currency=row.currency)
    before = await _gone(session, row, top_up)
    parts = refunding.parts(row, top_up, grant.remaining, kept=kept.copy_negate(), before=before)
    for transfer in refunding.taken_back(row, parts, grant.id, now=now):
        if grant_of(transfer.debit_account) is not None:
            await ledger.burn(session, grant_id=grant.id, transfer=transfer)
        else:
            await ledger.post(session, transfer)
    return parts.credit


async def give_again(session: WriteSession, paid: Paid, row: RefundRow | DisputeRow, *, now: datetime) -> None:
    """Undo that: what came from the grant is credit again, in a grant of its own, and the rest is not owed any more.

    That it went back is in the books.
    """
    top_up, _ = await _bought(session, paid)
    parts = refunding.posted_parts(await _posted(session, row))
    for transfer in refunding.given_again(row, parts, now=now):
        await ledger.post(session, transfer)
    if parts.credit > 0:
        terms = GrantTerms(
            amount=parts.credit,
            currency=row.currency,
            category=GrantCategory.PAID,
            reason=f"Top-up {typed('tup', top_up.id)}, which came back",
            reference=typed("back", row.id),
        )
        await ledger.grant_credit(
            session, organization_id=row.organization_id, terms=terms, by=None, now=now, source=REFUNDABLE
        )


async def _gone(session: ReadSession, row: RefundRow | DisputeRow, top_up: TopUp) -> refunding.Gone:
    """What went back of the top-up before this one."""
    rows = await returns.of_top_up(session, organization_id=top_up.organization_id, top_up_id=top_up.id)
    return refunding.gone([(each, await _posted(session, each)) for each in rows if each.id != row.id])


async def _posted(session: ReadSession, row: RefundRow | DisputeRow) -> Sequence[Transfer]:
    caused = (refunding.cause_of(row), row.id)
    return await ledger.caused(session, organization_id=row.organization_id, caused=caused)


async def _bought(session: ReadSession, paid: Paid) -> tuple[TopUp, Grant]:
    """The top-up, and the credit it became."""
    if paid.top_up_id is None:
        raise ValueError("Not of a top-up")
    top_up = await top_ups.get(session, organization_id=paid.organization_id, top_up_id=paid.top_up_id)
    if top_up.grant_id is None:
        raise ValueError("Never credited")
    return top_up, await ledger.get_grant(session, paid.organization_id, top_up.grant_id)


Sums = dict[str, tuple[OrganizationId, Decimal]]
"""What each payment brought and gave back, and whose it is."""


async def top_up_sums(session: ReadSession, intents: Collection[str]) -> Sums:
    """What each of these payments brought and gave back of top-ups."""
    sums: Sums = {}
    for top_up in await top_up_store.paid_by(session, intents):
        sums[str(top_up.payment_intent_id)] = (top_up.organization_id, top_up.total)
    for intent, change in await returns.of_top_ups(session, intents):
        owner, before = sums[intent]
        sums[intent] = (owner, money.EXACT.add(before, change))
    return sums


async def top_ups_since(session: ReadSession, since: datetime) -> set[str]:
    """The payments of top-ups that were credited since then."""
    return {str(top_up.payment_intent_id) for top_up in await top_up_store.paid_since(session, since)}
