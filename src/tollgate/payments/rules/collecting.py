"""What is done next to collect an invoice. Our invoice is the truth: one invoice at Stripe mirrors it.

`next_step()` looks at our row, our invoice and Stripe's as it is now, and says one thing to do. Whoever does it looks
again afterwards, so every step can be repeated, and a step whose outcome is not known is found out by looking.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from tollgate.invoices.model import Heading, InvoiceStatus
from tollgate.invoices.rules import document
from tollgate.kit import money
from tollgate.kit.backoff import doubled
from tollgate.kit.ids import typed
from tollgate.payments.model import InvoiceState, PaymentIntent, StripeInvoice
from tollgate.payments.rules import dunning
from tollgate.payments.states import Collection, CollectionMode, CollectionState, Mirror, Policy

LOOK_AGAIN = timedelta(days=1)
"""How often an invoice that waits for its customer is looked at: Stripe's word of a payment may be lost."""
_LOOK_SOON = timedelta(hours=1)
"""How often while a payment is on its way."""
_FIRST_WAIT, _WAIT_MAX = timedelta(seconds=30), timedelta(hours=6)
"""How long Stripe is left alone after an error, and after many."""
_ASKING = frozenset({InvoiceState.DRAFT, InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE})
"""A mirror that is paid or will be, unless it is taken back."""
KEYS_LAST = timedelta(hours=23)
"""For how long Stripe surely remembers an idempotency key: 24 hours, less what clocks may differ."""


MARK = "mirror"
"""The metadata that one mirror alone has: by it a mirror is found again."""


class Act(StrEnum):
    """One thing to do."""

    REST = "rest"
    """Nothing, until later."""
    FINISH = "finish"
    """Nothing any more."""
    PARK = "park"
    """Have a person look."""
    REMIND = "remind"
    """Tell that the invoice is past due."""
    SUSPEND = "suspend"
    """Close the organization's keys until it pays."""
    RECORD = "record"
    """Write down payments that Stripe has."""
    LOOK = "look"
    """Find out whether the mirror was made."""
    MAKE = "make"
    """Make the mirror, as a draft."""
    FILL = "fill"
    """Add its lines."""
    FINALISE = "finalise"
    """Make it a demand."""
    CHARGE = "charge"
    """Take the money."""
    MARK_PAID = "mark_paid"
    """Tell Stripe that it was paid elsewhere."""
    WITHDRAW = "withdraw"
    """Take the mirror back, so that it cannot be paid; a new one is made if anything is due."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, until when to rest, and why."""

    act: Act
    at: datetime | None = None
    """Of a rest: its end."""
    reason: str | None = None
    """Of parking: what a person has to know."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How the money can be had."""

    mode: CollectionMode
    customer_id: str | None = None
    """The organization's customer at Stripe, if it has one."""
    has_method: bool = False
    """A payment method is stored there."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at this moment."""

    collection: Collection
    heading: Heading
    """Our invoice."""
    ways: Ways
    mirror: StripeInvoice | None = None
    """Stripe's invoice as it is now, if we know which it is."""
    intents: Sequence[PaymentIntent] = ()
    """Every payment of the mirror, made or tried."""
    recorded: frozenset[str] = field(default_factory=frozenset)
    """The payments that are written down."""
    was_looked_for: bool = False
    """Stripe was asked whether the mirror is there: it is not."""
    by_hand: str | None = None
    """Why Stripe cannot collect it, if it cannot."""
    is_blind: bool = False
    """There is no way to Stripe here, so nobody can tell what is there."""


def mode(chosen: CollectionMode | None, *, has_method: bool) -> CollectionMode:
    """How to collect, where it may be left open."""
    if chosen is not None:
        return chosen
    return CollectionMode.AUTOMATIC if has_method else CollectionMode.SEND


def next_step(seen: Seen, policy: Policy, now: datetime) -> Step:
    """The one thing to do now."""
    if seen.is_blind and _was_begun(seen):
        # What may ask for money there is not settled by whoever cannot see it.
        told = None if _is_over(seen) else _overdue(seen, policy, now)
        return told or _rest(seen, policy, now, at=now + _LOOK_SOON)
    at_once = _strange(seen) or _unrecorded(seen)
    if at_once is not None:
        return at_once
    if _is_over(seen):
        return _ending(seen)
    return _overdue(seen, policy, now) or _mirroring(seen, policy, now)


def _is_over(seen: Seen) -> bool:
    return seen.heading.amount_due == 0 or seen.heading.status is InvoiceStatus.UNCOLLECTIBLE


def _strange(seen: Seen) -> Step | None:
    """Stripe's invoice is not the mirror of ours."""
    reason = None if seen.mirror is None else stranger(seen.collection, seen.heading, seen.mirror)
    return None if reason is None else Step(Act.PARK, reason=reason)


def _unrecorded(seen: Seen) -> Step | None:
    """Stripe has payments that are not written down; one in another currency, or of somebody else, never is."""
    for intent in unrecorded(seen):
        if seen.mirror is not None and intent.customer_id != seen.mirror.customer_id:
            return Step(Act.PARK, reason=f"The payment {intent.id} of Stripe's invoice is of another customer.")
        if intent.currency != seen.heading.currency:
            return Step(Act.PARK, reason=f"Paid at Stripe in {intent.currency}, not in {seen.heading.currency}.")
    return Step(Act.RECORD) if unrecorded(seen) else None


def unrecorded(seen: Seen) -> list[PaymentIntent]:
    """The payments that Stripe has, and we have not written down."""
    return [
        intent
        for intent in seen.intents
        if intent.status == "succeeded" and intent.amount_received > 0 and intent.id not in seen.recorded
    ]


def metadata(collection: Collection) -> Mapping[str, str]:
    """What the mirror says of whose it is."""
    invoice = typed("inv", collection.invoice_id)
    return {
        "organization": typed("org", collection.organization_id),
        "invoice": invoice,
        MARK: f"{invoice}:{collection.mirror.revision}",
    }


def number(collection: Collection, heading: Heading) -> str:
    """What the mirror is called: as our invoice, and with a suffix if an earlier mirror of it was taken back."""
    revision = collection.mirror.revision
    return f"{heading.number}-{revision + 1}" if revision else str(heading.number)


def stranger(collection: Collection, heading: Heading, mirror: StripeInvoice) -> str | None:
    """Why Stripe's invoice is not the mirror of ours, if it is not: ids, customer, currency, number or total differ."""
    known = collection.mirror
    said = [(f"its {name}", expected, mirror.metadata.get(name)) for name, expected in metadata(collection).items()]
    said.append(("its currency", heading.currency, mirror.currency))
    if known.customer_id is not None:
        said.append(("its customer", known.customer_id, mirror.customer_id))
    if mirror.number is not None:
        said.append(("its number", number(collection, heading), mirror.number))
    if known.filled_at is not None and known.amount is not None:
        said.append(("its total", money.amount_text(known.amount), money.amount_text(mirror.total)))
    if mirror.state in {InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE}:
        # A balance that the customer has at Stripe alone is set against it there; another mirror would fare no better.
        due = money.amount_text(mirror.amount_due)
        said.append(("what it asks for of its total", money.amount_text(mirror.total), due))
    for what, expected, found in said:
        if found != expected:
            return f"Stripe's invoice {mirror.id} does not mirror this one: {what} is {found}, not {expected}."
    return None


def _ending(seen: Seen) -> Step:
    """Nothing is due, or it was given up: what is at Stripe must not ask for it any more."""
    mirror = seen.mirror
    if mirror is None:
        return Step(Act.LOOK) if _may_be_made(seen) else _end(seen)
    is_given_up = seen.heading.status is InvoiceStatus.UNCOLLECTIBLE
    if is_given_up or mirror.state not in _ASKING:
        return _end(seen)  # what was given up may still be paid on Stripe's page
    is_demand = mirror.state is not InvoiceState.DRAFT
    was_paid = seen.heading.status is InvoiceStatus.PAID and seen.heading.amount_paid >= mirror.amount_remaining > 0
    return Step(Act.MARK_PAID if is_demand and was_paid else Act.WITHDRAW)


def _was_begun(seen: Seen) -> bool:
    """A mirror was asked for: it is there, or may be."""
    known = seen.collection.mirror
    return known.invoice_id is not None or known.begun_at is not None


def _end(seen: Seen) -> Step:
    """Nothing is to be done any more; but of what was paid beyond the invoice, a person has to know."""
    heading = seen.heading
    asked_for = money.ZERO if heading.status is InvoiceStatus.VOID else heading.totals.total
    beyond = money.EXACT.subtract(heading.amount_paid, asked_for)
    if beyond <= 0:
        return Step(Act.FINISH)
    said = f"{money.amount_text(beyond)} {heading.currency}"
    return Step(Act.PARK, reason=f"{said} was paid beyond what {heading.number} asks for: give it back.")


def _may_be_made(seen: Seen) -> bool:
    """A mirror was asked for, and it is not known whether it is there."""
    known = seen.collection.mirror
    return known.invoice_id is None and known.begun_at is not None and not seen.was_looked_for


def _overdue(seen: Seen, policy: Policy, now: datetime) -> Step | None:
    done, due_at = seen.collection.dunning, seen.heading.due_at
    notice, suspension = dunning.notice_at(due_at), dunning.suspension_at(due_at, policy)
    if notice is not None and notice <= now and done.past_due_at is None:
        return Step(Act.REMIND)
    if suspension is not None and suspension <= now and done.suspended_at is None:
        return Step(Act.SUSPEND)
    return None


def _rest(seen: Seen, policy: Policy, now: datetime, *, at: datetime | None = None) -> Step:
    """Until something is to be done by the clock, and a day at most."""
    due_at = seen.heading.due_at
    ends = [at or now + LOOK_AGAIN, dunning.notice_at(due_at), dunning.suspension_at(due_at, policy)]
    return Step(Act.REST, at=min(end for end in ends if end is not None and end > now))


def _mirroring(seen: Seen, policy: Policy, now: datetime) -> Step:
    """Something is due, and not by the clock alone."""
    mirror = seen.mirror
    if seen.ways.mode is CollectionMode.NONE and (mirror is None or mirror.state not in _ASKING):
        return Step(Act.LOOK) if mirror is None and _may_be_made(seen) else _rest(seen, policy, now)
    if mirror is None:
        return _without_mirror(seen)
    if mirror.state in _ASKING and _is_outdated(seen, mirror):
        return Step(Act.WITHDRAW)
    match mirror.state:
        case InvoiceState.DRAFT:
            return _draft(seen, mirror, now)
        case InvoiceState.OPEN | InvoiceState.UNCOLLECTIBLE:
            return _open(seen, policy, now)
        case _:
            return Step(Act.PARK, reason=_why_at_odds(seen, mirror))


def _is_outdated(seen: Seen, mirror: StripeInvoice) -> bool:
    """It asks for another amount than is due, of another customer, or of one who is not to be asked at all."""
    if any(intent.status == "processing" for intent in seen.intents):
        return False
    known, due = seen.collection.mirror, seen.heading.amount_due
    asks_for = known.amount if mirror.state is InvoiceState.DRAFT else mirror.amount_remaining
    return asks_for != due or known.customer_id != seen.ways.customer_id or seen.ways.mode is CollectionMode.NONE


def _why_at_odds(seen: Seen, mirror: StripeInvoice) -> str:
    if mirror.state is not InvoiceState.PAID:
        return f"Stripe's invoice {mirror.id} was taken back there: it is {mirror.state}."
    how = "marked as paid elsewhere there" if mirror.is_paid_elsewhere else "paid there"
    currency = seen.heading.currency
    due = f"{document.rounded(seen.heading.amount_due, currency)} {currency}"
    return (
        f"Stripe's invoice {mirror.id} is {how}, and {due} is due on ours: "
        "record what was paid elsewhere, credit what went back, or collect again."
    )


def _without_mirror(seen: Seen) -> Step:
    if seen.collection.mirror.invoice_id is not None:
        return Step(Act.PARK, reason=f"Stripe has no invoice {seen.collection.mirror.invoice_id} any more.")
    if _may_be_made(seen):
        return Step(Act.LOOK)
    return Step(Act.PARK, reason=seen.by_hand) if seen.by_hand else Step(Act.MAKE)


def _draft(seen: Seen, mirror: StripeInvoice, now: datetime) -> Step:
    known = seen.collection.mirror
    if known.filled_at is not None:
        return Step(Act.FINALISE)
    # Lines are not added twice only for as long as Stripe remembers their keys.
    return Step(Act.FILL if now < (known.begun_at or mirror.created_at) + KEYS_LAST else Act.WITHDRAW)


def _open(seen: Seen, policy: Policy, now: datetime) -> Step:
    if any(intent.status == "processing" for intent in seen.intents):
        return _rest(seen, policy, now, at=now + _LOOK_SOON)
    if seen.ways.mode is not CollectionMode.AUTOMATIC or not seen.ways.has_method:
        return _rest(seen, policy, now)
    tried = seen.collection.dunning
    attempt_at = dunning.next_attempt(tried, policy, now)
    is_begun = tried.attempts > tried.failures
    if is_begun or seen.collection.is_asked or (attempt_at is not None and attempt_at <= now):
        return Step(Act.CHARGE)
    ends = now + LOOK_AGAIN
    return _rest(seen, policy, now, at=min(attempt_at or ends, ends))


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the mirror."""

    description: str
    amount: Decimal


def key(collection: Collection, step: str) -> str:
    """The idempotency key of one request for this invoice: it follows from our row, so that asking again is safe."""
    return f"inv:{collection.invoice_id}:{collection.mirror.revision}:{step}"


def asked(collection: Collection) -> Collection:
    """The collection once a person has looked: what was parked begins anew, with another mirror."""
    if collection.state is not CollectionState.PARKED:
        return replace(collection, is_asked=True)
    known = collection.mirror
    mirror = Mirror(known.revision + 1) if known.begun_at is not None else known
    return replace(collection, is_asked=True, state=CollectionState.OPEN, parked_reason=None, mirror=mirror)


def days_until_due(seen: Seen, now: datetime) -> int | None:
    """How long Stripe gives the customer to pay; `None` if the money is taken from a stored method."""
    if seen.ways.mode is CollectionMode.AUTOMATIC and seen.ways.has_method:
        return None
    due_at = seen.heading.due_at
    return 0 if due_at is None else max(0, (due_at - now).days)


def with_another_key(collection: Collection, *, was_looked_for: bool) -> Collection:
    """The collection such that what was asked under a key that is spent is asked under another.

    Whoever goes on looks first whether it was done: an attempt is paid or not, a draft is thrown away and made again.
    """
    mirror, tried = collection.mirror, collection.dunning
    if tried.attempts > tried.failures:
        # It counts as none, so that the next one is made at once.
        ended = replace(tried, failures=tried.attempts, last_attempt_at=tried.first_failed_at)
        return replace(collection, dunning=ended)
    if mirror.invoice_id is None:
        again = Mirror(mirror.revision + 1) if was_looked_for else mirror
        return replace(collection, mirror=again)
    if mirror.filled_at is None and mirror.begun_at is not None:
        return replace(collection, mirror=replace(mirror, begun_at=mirror.begun_at - KEYS_LAST))
    return collection


def retry_after(errors: int) -> timedelta:
    """How long to leave Stripe alone after so many errors in a row: from half a minute to six hours."""
    return doubled(_FIRST_WAIT, _WAIT_MAX, times=errors - 1)
