"""Collecting one invoice: look, decide, do one thing, write it down, and look again.

What is about to be asked of Stripe is committed before it is asked, and what came of it afterwards. Whoever dies in
between leaves a row whose next worker looks first, and asks with the same key.
"""

from dataclasses import dataclass, replace

import structlog

from tollgate.infra import telemetry
from tollgate.invoices.model import Invoice, InvoiceStatus, PaymentKind
from tollgate.invoices.service import invoices
from tollgate.invoices.service import payments as invoice_payments
from tollgate.kit.ids import InvoiceId, OrganizationId
from tollgate.payments.model import (
    InvoiceOrder,
    InvoiceState,
    ItemOrder,
    PaymentIntent,
    StripeAway,
    StripeDeclined,
    StripeError,
    StripeInvoice,
    StripeKeySpent,
    StripeMissing,
    StripeRefused,
)
from tollgate.payments.rules import collecting, dunning, mirroring, refunding
from tollgate.payments.rules.collecting import Act, Seen, Step, Ways
from tollgate.payments.service import past_due, turns
from tollgate.payments.service.means import Means
from tollgate.payments.service.turns import Overtaken
from tollgate.payments.states import Collection, CollectionMode, CollectionState, Mirror, Paid
from tollgate.payments.store import collections as store
from tollgate.payments.stripe_client import StripeClient

_STEPS_MAX = 16
"""More steps than that at once are going round in circles."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What is known, and the whole of our invoice."""

    seen: Seen
    invoice: Invoice


async def collect(means: Means, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> Collection | None:
    """Do what is to be done now to collect the invoice; `None` if nothing is, or somebody else does it.

    What Stripe does not do now is tried again later, and is part of the answer.
    """
    async with means.database.write() as session:
        claimed = await store.claim(
            session, organization_id=organization_id, invoice_id=invoice_id, now=means.clock.now()
        )
    if claimed is None:
        return None
    work = _Work(means, claimed)
    try:
        return await work.done()
    except Overtaken:
        return None
    except StripeError as error:
        return await work.put_off(error)


class _Work:
    """One turn at one collection."""

    def __init__(self, means: Means, claimed: Collection) -> None:
        self._means = means
        self._at = claimed
        self._was_looked_for = False

    async def done(self) -> Collection:
        """Step after step, until there is nothing to do now."""
        for _ in range(_STEPS_MAX):
            sight = await self._look()
            step = collecting.next_step(sight.seen, self._means.policy, self._means.clock.now())
            if step.act in {Act.REST, Act.FINISH, Act.PARK}:
                return await self._leave(sight.seen, step)
            await self._do(step.act, sight)
        raise StripeError(f"Collecting took more than {_STEPS_MAX} steps.")

    async def put_off(self, error: StripeError) -> Collection | None:
        """Leave it for later, the longer the more often it failed."""
        now, errors = self._means.clock.now(), self._at.errors + 1
        _log.warning("collection.put_off", invoice_id=str(self._at.invoice_id), error=str(error), errors=errors)
        telemetry.COLLECTION_ERRORS.labels(type(error).__name__).inc()
        later = replace(self._at, errors=errors, next_at=now + collecting.retry_after(errors))
        if isinstance(error, StripeKeySpent) or (isinstance(error, StripeAway) and error.is_replay):
            later = collecting.with_another_key(later, was_looked_for=self._was_looked_for)
        try:
            await self._save(later, last_error=str(error))
        except Overtaken:
            return None
        return self._at

    async def _look(self) -> _Sight:
        at, means = self._at, self._means
        async with means.database.read() as session:
            invoice = await invoices.get(
                session, organization_id=at.organization_id, invoice_id=at.invoice_id, now=means.clock.now()
            )
            payments = await invoice_payments.payments_of(
                session, organization_id=at.organization_id, invoice_id=at.invoice_id
            )
            settings = await store.settings(session, organization_id=at.organization_id)
        recorded = frozenset(
            payment.reference for payment in payments if payment.reference and payment.kind is PaymentKind.PAYMENT
        )
        mirror, intents = await self._mirror(recorded)
        ways = await self._ways(settings.mode, is_due=invoice.heading.amount_due > 0)
        seen = Seen(
            at,
            invoice.heading,
            ways,
            mirror,
            intents,
            recorded,
            was_looked_for=self._was_looked_for,
            by_hand=mirroring.why_by_hand(invoice),
            is_blind=means.door is None,
        )
        return _Sight(seen, invoice)

    async def _ways(self, chosen: CollectionMode | None, *, is_due: bool) -> Ways:
        means = self._means
        if means.door is None or chosen is CollectionMode.NONE:
            return Ways(CollectionMode.NONE)
        if not is_due:
            return Ways(CollectionMode.NONE, self._at.mirror.customer_id)
        customer = await means.customer(self._at.organization_id)
        has_method = await means.method_of(customer) is not None
        return Ways(collecting.mode(chosen, has_method=has_method), customer.id, has_method=has_method)

    async def _mirror(self, recorded: frozenset[str]) -> tuple[StripeInvoice | None, list[PaymentIntent]]:
        """Stripe's invoice, and every payment of it that is not settled and written down."""
        known, door = self._at.mirror.invoice_id, self._means.door
        if known is None or door is None:
            return None, []
        try:
            mirror = await door.invoice(known)
        except StripeMissing:
            return None, []
        if mirror.state is InvoiceState.DRAFT:
            return mirror, []
        return mirror, [await door.payment_intent(each) for each in mirror.payment_intent_ids if each not in recorded]

    async def _do(self, act: Act, sight: _Sight) -> None:
        match act:
            case Act.RECORD:
                await self._record(sight.seen)
            case Act.REMIND:
                self._at = await past_due.remind(self._means, self._at)
            case Act.SUSPEND:
                self._at = await past_due.suspend(self._means, self._at)
            case Act.LOOK:
                await self._look_for()
            case Act.MAKE:
                await self._make(sight)
            case Act.FILL:
                await self._fill(sight)
            case Act.CHARGE:
                await self._charge(sight.seen)
            case _:
                await self._move(act, sight.seen)

    async def _leave(self, seen: Seen, step: Step) -> Collection:
        """Write down that nothing is to be done now, and until when."""
        now = self._means.clock.now()
        rested = replace(self._at, errors=0, parked_reason=None, is_asked=False, state=CollectionState.OPEN)
        if step.act is Act.PARK:
            return await self._park(seen, str(step.reason))
        if step.act is Act.FINISH:
            await self._save(replace(rested, state=CollectionState.DONE, last_error=None))
            await self._settle_suspension(seen)
        else:
            await self._save(replace(rested, next_at=step.at or now + collecting.LOOK_AGAIN))
        return self._at

    async def _settle_suspension(self, seen: Seen) -> None:
        """Nothing is expected any more: if it was paid, keys that were closed for it open again."""
        if seen.heading.status is InvoiceStatus.UNCOLLECTIBLE:
            await past_due.keep_closed(self._means, organization_id=self._at.organization_id)
        else:
            await past_due.resume(self._means, organization_id=self._at.organization_id)

    async def _park(self, seen: Seen, reason: str) -> Collection:
        if reason != self._at.parked_reason:
            telemetry.COLLECTIONS_PARKED.inc()
            _log.error("collection.parked", invoice_id=str(self._at.invoice_id), reason=reason)
        mirror, mark = seen.mirror, collecting.metadata(self._at)[collecting.MARK]
        if mirror is not None and mirror.metadata.get(collecting.MARK) == mark:
            # It is ours and it is wrong: nobody shall pay it. Once parked nobody looks again, so this comes first.
            await self._take_back(mirror)
        is_due = seen.heading.amount_due > 0
        told = self._at.dunning if is_due else replace(self._at.dunning, past_due_at=None)
        parked = replace(self._at, state=CollectionState.PARKED, parked_reason=reason, is_asked=False, dunning=told)
        await self._save(parked)
        if not is_due:
            await self._settle_suspension(seen)
        return self._at

    async def _save(self, changed: Collection, last_error: str | None = None) -> None:
        """Commit what is known from here on.

        Raises:
            Overtaken: somebody else did.
        """
        async with self._means.database.write() as session:
            saved = await turns.write(session, changed, now=self._means.clock.now(), last_error=last_error)
        self._at = saved

    async def _record(self, seen: Seen) -> None:
        """Write down what Stripe has of payments: each once, by the id of its payment intent."""
        now = self._means.clock.now()
        async with self._means.database.write() as session:
            for intent in collecting.unrecorded(seen):
                paid = Paid(
                    self._at.organization_id,
                    intent.id,
                    intent.amount_received,
                    intent.currency,
                    invoice_id=self._at.invoice_id,
                )
                happened = seen.mirror.paid_at if seen.mirror and seen.mirror.paid_at else now
                payment = refunding.payment_of(
                    paid, PaymentKind.PAYMENT, intent.id, intent.amount_received, (happened, now)
                )
                if payment is not None:
                    await invoice_payments.record(session, payment=payment)
        settled = replace(self._at.dunning, failures=self._at.dunning.attempts)
        await self._save(replace(self._at, dunning=settled, is_asked=False))

    async def _look_for(self) -> None:
        """Find the mirror that an earlier turn may have made."""
        known, mark = self._at.mirror, collecting.metadata(self._at)[collecting.MARK]
        found = None
        if known.customer_id is not None and self._means.door is not None:
            found = await self._means.door.find_invoice(known.customer_id, name=collecting.MARK, value=mark)
        if found is None:
            self._was_looked_for = True
        else:
            await self._save(replace(self._at, mirror=replace(known, invoice_id=found.id)))

    async def _make(self, sight: _Sight) -> None:
        """Make a draft, without lines."""
        heading, now, door = sight.invoice.heading, self._means.clock.now(), self._door
        customer_id = str(sight.seen.ways.customer_id)
        begun = Mirror(self._at.mirror.revision, now, customer_id, None, heading.amount_due)
        await self._save(replace(self._at, mirror=begun))
        order = InvoiceOrder(
            customer_id=customer_id,
            number=collecting.number(self._at, heading),
            currency=heading.currency,
            metadata=collecting.metadata(self._at),
            days_until_due=collecting.days_until_due(sight.seen, now),
            description=f"{heading.month.name}, due {heading.due_at:%Y-%m-%d}" if heading.due_at else None,
        )
        made = await door.create_invoice(order, key=collecting.key(self._at, "create"))
        await self._save(replace(self._at, mirror=replace(begun, invoice_id=made.id)))

    async def _fill(self, sight: _Sight) -> None:
        """Add the lines, each with a key of its own."""
        known, currency = self._at.mirror, sight.invoice.heading.currency
        for place, item in enumerate(mirroring.items(sight.invoice)):
            order = ItemOrder(
                customer_id=str(known.customer_id),
                invoice_id=str(known.invoice_id),
                amount=item.amount,
                currency=currency,
                description=item.description,
                metadata=collecting.metadata(self._at),
            )
            await self._door.add_invoice_item(order, key=collecting.key(self._at, f"item:{place}"))
        await self._save(replace(self._at, mirror=replace(known, filled_at=self._means.clock.now())))

    async def _charge(self, seen: Seen) -> None:
        """Begin an attempt, or find out what became of the one that was begun."""
        mirror_id, tried = str(self._at.mirror.invoice_id), self._at.dunning
        if tried.attempts == tried.failures:
            tried = replace(tried, attempts=tried.attempts + 1, last_attempt_at=self._means.clock.now())
            await self._save(replace(self._at, dunning=tried, is_asked=False))
        try:
            method = await self._means.method_of(await self._means.customer(self._at.organization_id))
            paid = await self._door.pay_invoice(
                mirror_id, key=collecting.key(self._at, f"pay:{tried.attempts}"), method_id=method
            )
            if paid.state is not InvoiceState.PAID:
                # It is on its way. Should it not arrive, the next try is made when it would be after a failure.
                waits = dunning.after_failure(tried, self._means.clock.now())
                await self._save(replace(self._at, dunning=waits))
        except StripeDeclined as declined:
            reason = declined.decline_code or declined.code or str(declined)
            self._at = await past_due.failed(
                self._means, self._at, reason=reason, page=None if seen.mirror is None else seen.mirror.hosted_url
            )
        except StripeRefused as refused:
            # Paid meanwhile, taken back, or nothing to pay with: the next look tells which.
            failed = dunning.after_failure(tried, self._means.clock.now())
            await self._save(replace(self._at, dunning=failed), last_error=str(refused))

    async def _move(self, act: Act, seen: Seen) -> None:
        """Have the mirror go on to what it is to be. Doing so again changes nothing, so each try has its own key."""
        mirror = seen.mirror
        if mirror is None:
            raise ValueError(f"Nothing to {act}")
        key = collecting.key(self._at, f"{act}:{self._at.errors}")
        if act is Act.FINALISE:
            await self._door.finalise_invoice(mirror.id, key=key)
        elif act is Act.MARK_PAID:
            await self._door.mark_invoice_paid_out_of_band(mirror.id, key=key)
        elif await self._take_back(mirror):
            await self._save(replace(self._at, mirror=Mirror(self._at.mirror.revision + 1)))

    async def _take_back(self, mirror: StripeInvoice) -> bool:
        """Have the mirror ask for nothing any more; false if it was paid meanwhile."""
        try:
            if mirror.state is InvoiceState.DRAFT:
                await self._door.delete_draft(mirror.id)
            elif mirror.state in {InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE}:
                await self._door.void_invoice(mirror.id, key=collecting.key(self._at, f"void:{self._at.errors}"))
        except StripeMissing:
            return True
        except StripeRefused as refused:
            _log.warning("collection.not_taken_back", stripe_invoice=mirror.id, error=str(refused))
            return False
        return True

    @property
    def _door(self) -> StripeClient:
        if self._means.door is None:
            raise ValueError("There is no way to Stripe")
        return self._means.door
