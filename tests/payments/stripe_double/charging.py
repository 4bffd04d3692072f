"""Taking money: payment intents, their charges, and whatever comes of them later: refunds and disputes."""

from typing import Any

from tests.payments.stripe_double import balance
from tests.payments.stripe_double.wire import Params, Problem, Thing, listed
from tests.payments.stripe_double.world import World

DONE = frozenset({"succeeded", "canceled"})


def new_intent(world: World, *, customer: str | None, amount: int, currency: str, **more: Any) -> Thing:
    """A payment that is wished for."""
    intent = world.new(
        "pi",
        "payment_intent",
        customer=customer,
        amount=amount,
        amount_received=0,
        currency=currency,
        status="requires_payment_method",
        latest_charge=None,
        last_payment_error=None,
        payment_method=None,
        **{"metadata": {}, **more},
    )
    world.tell("payment_intent.created", intent)
    return intent


def attempt(world: World, intent: Thing, method: Thing) -> None:
    """Try to take the money from the method; the intent says what came of it.

    Raises:
        Problem: it was declined, or the customer has to confirm first.
    """
    behaviour = method["_behaviour"]
    intent["payment_method"] = method["id"]
    if behaviour == "declines_once":
        method["_behaviour"] = "good"
    if behaviour in {"declining", "declines_once"}:
        _decline(world, intent)
    if behaviour == "needs_confirmation":
        intent["status"] = "requires_action"
        world.tell("payment_intent.requires_action", intent)
        raise _card_problem(intent, "This payment requires authentication.", "invoice_payment_intent_requires_action")
    if behaviour == "slow":
        intent["status"] = "processing"
        intent["latest_charge"] = _charge(world, intent, "pending")["id"]
        world.tell("payment_intent.processing", intent)
        return
    succeed(world, intent)


def succeed(world: World, intent: Thing) -> None:
    """The money is there."""
    pending = world.objects.get(intent["latest_charge"] or "")
    charge = pending if pending and pending["status"] == "pending" else _charge(world, intent, "pending")
    charge |= {"status": "succeeded", "paid": True, "amount_captured": charge["amount"]}
    moved = balance.move(world, "charge", charge, charge["amount"], fee=balance.fee_of(charge["amount"]))
    charge["balance_transaction"] = moved["id"]
    intent |= {"status": "succeeded", "amount_received": intent["amount"], "latest_charge": charge["id"]}
    intent["last_payment_error"] = None
    world.tell("charge.succeeded", charge)
    world.tell("payment_intent.succeeded", intent)


def _decline(world: World, intent: Thing) -> None:
    charge = _charge(world, intent, "failed")
    charge["failure_code"] = "card_declined"
    error = {"code": "card_declined", "decline_code": "insufficient_funds", "message": "Your card was declined."}
    intent |= {"status": "requires_payment_method", "latest_charge": charge["id"], "last_payment_error": error}
    world.tell("charge.failed", charge)
    world.tell("payment_intent.payment_failed", intent)
    raise _card_problem(
        intent, "Your card was declined.", "card_declined", decline_code="insufficient_funds", charge=charge["id"]
    )


def fail(world: World, intent: Thing) -> None:
    """What was on its way does not arrive after all."""
    charge = world.get("charge", intent["latest_charge"])
    charge |= {"status": "failed", "failure_code": "debit_not_authorized"}
    error = {"code": "payment_method_customer_decline", "message": "The customer's bank refused."}
    intent |= {"status": "requires_payment_method", "last_payment_error": error}
    world.tell("payment_intent.payment_failed", intent)


def _card_problem(intent: Thing, message: str, code: str, **more: Any) -> Problem:
    return Problem(402, message, kind="card_error", code=code, payment_intent=dict(intent), **more)


def _charge(world: World, intent: Thing, status: str) -> Thing:
    return world.new(
        "ch",
        "charge",
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        currency=intent["currency"],
        customer=intent["customer"],
        payment_intent=intent["id"],
        payment_method=intent["payment_method"],
        status=status,
        paid=False,
        refunded=False,
        disputed=False,
        failure_code=None,
        balance_transaction=None,
        metadata=dict(intent["metadata"]),
    )


def retrieve_intent(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    return world.get("payment_intent", identifier)


def retrieve_charge(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    return world.get("charge", identifier)


def create_refund(world: World, params: Params) -> Thing:
    intent = world.get("payment_intent", params.needed("payment_intent"))
    charge = world.get("charge", intent["latest_charge"] or "")
    left = charge["amount"] - charge["amount_refunded"]
    amount = params.number("amount", left) or 0
    metadata, reason = params.mapping("metadata"), params.text("reason")
    params.done()
    if charge["status"] != "succeeded" or not left:
        raise Problem(400, "Charge has already been refunded.", code="charge_already_refunded")
    if not 0 < amount <= left:
        raise Problem(400, "Refund amount is greater than unrefunded amount on charge", param="amount")
    balance.check_amount(amount, charge["currency"])
    if charge["disputed"]:
        raise Problem(400, "The charge is disputed.", code="charge_disputed")
    refund = world.new(
        "re",
        "refund",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        payment_intent=intent["id"],
        status="pending" if world.objects[charge["payment_method"]]["_behaviour"] == "slow" else "succeeded",
        reason=reason,
        failure_reason=None,
        failure_balance_transaction=None,
        metadata=metadata,
    )
    refund["balance_transaction"] = balance.move(world, "refund", refund, -amount)["id"]
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    world.tell("refund.created", refund)
    world.tell("charge.refunded", charge)
    return refund


def end_refund(world: World, identifier: str, *, failed: bool) -> Thing:
    """A refund that arrives, or comes back days later."""
    refund = world.get("refund", identifier)
    if not failed:
        refund["status"] = "succeeded"
        world.tell("refund.updated", refund)
        return refund
    refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    refund["failure_balance_transaction"] = balance.move(world, "refund_failure", refund, refund["amount"])["id"]
    charge = world.get("charge", refund["charge"])
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    world.tell("refund.failed", refund)
    return refund


def retrieve_refund(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    return world.get("refund", identifier)


def list_refunds(world: World, params: Params) -> Thing:
    return _of_payment(world, params, "/v1/refunds", "refund")


def dispute(world: World, charge: Thing, *, amount: int | None = None, reason: str = "fraudulent") -> Thing:
    """The customer's bank takes the money back."""
    opened = world.new(
        "dp",
        "dispute",
        amount=charge["amount"] if amount is None else amount,
        charge=charge["id"],
        currency=charge["currency"],
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="needs_response",
        balance_transactions=[],
        metadata={},
    )
    charge["disputed"] = True
    _moved(world, opened, -opened["amount"], balance.DISPUTE_FEE, "dispute")
    world.tell("charge.dispute.created", opened)
    world.tell("charge.dispute.funds_withdrawn", opened)
    return opened


def end_dispute(world: World, identifier: str, *, won: bool) -> Thing:
    """The bank decides."""
    ended = world.get("dispute", identifier)
    ended["status"] = "won" if won else "lost"
    if won:
        _moved(world, ended, ended["amount"], 0, "dispute_reversal")
        world.tell("charge.dispute.funds_reinstated", ended)
    world.tell("charge.dispute.closed", ended)
    return ended


def _moved(world: World, disputed: Thing, amount: int, fee: int, category: str) -> None:
    moved = balance.move(world, "adjustment", disputed, amount, fee=fee, category=category)
    disputed["balance_transactions"].append(moved)


def retrieve_dispute(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    return world.get("dispute", identifier)


def list_disputes(world: World, params: Params) -> Thing:
    return _of_payment(world, params, "/v1/disputes", "dispute")


def _of_payment(world: World, params: Params, url: str, kind: str) -> Thing:
    intent, charge = params.text("payment_intent"), params.text("charge")

    def keep(each: Thing) -> bool:
        return (intent is None or each["payment_intent"] == intent) and (charge is None or each["charge"] == charge)

    found = listed(url, world.every(kind), params, keep)
    params.done()
    return found
