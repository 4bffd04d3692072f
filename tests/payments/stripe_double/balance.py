"""Our balance at Stripe: what moved it, what Stripe kept of it, and what was paid out."""

from typing import Any

from tests.payments.stripe_double.wire import Params, Problem, Thing, listed
from tests.payments.stripe_double.world import World

DISPUTE_FEE = 1500
_CATEGORIES = {"charge": "charge", "refund": "refund", "refund_failure": "refund_failure", "payout": "payout"}
_AVAILABLE_AFTER = 2 * 24 * 3600


def fee_of(amount: int) -> int:
    """2.9 % and 30, rounded down to whole units."""
    return amount * 29 // 1000 + 30


def move(world: World, kind: str, source: Thing, amount: int, *, fee: int = 0, category: str | None = None) -> Thing:
    """One movement."""
    return world.new(
        "txn",
        "balance_transaction",
        type=kind,
        reporting_category=category or _CATEGORIES.get(kind, kind),
        currency=source["currency"],
        amount=amount,
        fee=fee,
        net=amount - fee,
        source=source["id"],
        status="pending",
        available_on=world.seconds + _AVAILABLE_AFTER,
        _payout=None,
    )


def list_transactions(world: World, params: Params) -> Thing:
    payout, source = params.text("payout"), params.text("source")
    if payout is not None:
        world.get("payout", payout)

    def keep(each: Thing) -> bool:
        return (payout is None or each["_payout"] == payout) and (source is None or each["source"] == source)

    found = listed("/v1/balance_transactions", world.every("balance_transaction"), params, keep)
    params.done()
    return found


def retrieve(world: World, params: Params) -> Thing:
    params.done()
    sums: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for each in world.every("balance_transaction"):
        part = sums["available" if each["available_on"] <= world.seconds else "pending"]
        part[each["currency"]] = part.get(each["currency"], 0) + each["net"]
    parts: dict[str, Any] = {
        name: [{"amount": amount, "currency": currency} for currency, amount in sorted(part.items())]
        for name, part in sums.items()
    }
    return {"object": "balance", "livemode": False, **parts}


def pay_out(world: World, currency: str = "usd") -> Thing:
    """What Stripe does every day: everything available goes to the bank."""
    ready = [
        each
        for each in world.every("balance_transaction")
        if each["currency"] == currency and each["available_on"] <= world.seconds and each["_payout"] is None
    ]
    payout = world.new(
        "po",
        "payout",
        amount=sum(each["net"] for each in ready),
        currency=currency,
        automatic=True,
        status="paid",
        arrival_date=world.seconds,
        method="standard",
        type="bank_account",
        failure_code=None,
    )
    for each in (*ready, _leaves(world, "payout", payout, -payout["amount"])):
        each["_payout"] = payout["id"]
    world.tell("payout.paid", payout)
    return payout


def fail_payout(world: World, identifier: str) -> Thing:
    """The bank sends the money back."""
    payout = world.get("payout", identifier)
    payout |= {"status": "failed", "failure_code": "account_closed"}
    _leaves(world, "payout_failure", payout, payout["amount"])
    world.tell("payout.failed", payout)
    return payout


def _leaves(world: World, kind: str, payout: Thing, amount: int) -> Thing:
    moved = move(world, kind, payout, amount)
    moved["available_on"] = world.seconds
    return moved


def list_payouts(world: World, params: Params) -> Thing:
    status = params.text("status")
    found = listed(
        "/v1/payouts", world.every("payout"), params, lambda each: status is None or bool(each["status"] == status)
    )
    params.done()
    return found


def retrieve_payout(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    return world.get("payout", identifier)


def check_amount(amount: int, currency: str) -> None:
    """Amounts of three decimals end in a zero, and those of ISK and UGX in two."""
    step = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}.get(currency, 1)
    if amount % step:
        raise Problem(400, f"Invalid amount for {currency}.", code="parameter_invalid_integer", param="amount")
