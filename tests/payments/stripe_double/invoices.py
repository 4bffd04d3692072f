"""Invoices at Stripe: drafts, their items, finalising, paying, voiding."""

from typing import Any

from tests.payments.stripe_double import balance, charging, customers
from tests.payments.stripe_double.wire import Params, Problem, Thing, listed, missing
from tests.payments.stripe_double.world import World


def create(world: World, params: Params) -> Thing:
    customer = customers.living(world, params.needed("customer"))
    number = params.text("number")
    if number and any(each["number"] == number for each in world.every("invoice")):
        raise Problem(400, f"The number {number} is taken.", param="number")
    collected = params.text("collection_method", "charge_automatically")
    days = params.number("days_until_due")
    if (days is None) == (collected == "send_invoice"):
        raise Problem(400, "days_until_due goes with send_invoice.", param="days_until_due")
    invoice = world.new(
        "in",
        "invoice",
        customer=customer["id"],
        number=number,
        currency=params.needed("currency"),
        collection_method=collected,
        auto_advance=params.truth("auto_advance"),
        due_date=None if days is None else world.seconds + days * 24 * 3600,
        description=params.text("description"),
        metadata=params.mapping("metadata"),
        status="draft",
        attempt_count=0,
        attempted=False,
        hosted_invoice_url=None,
        invoice_pdf=None,
        status_transitions={"finalized_at": None, "paid_at": None, "voided_at": None},
        payments={"object": "list", "data": [], "has_more": False, "url": "/v1/invoice_payments"},
        amount_paid_off_stripe=0,
    )
    params.text("pending_invoice_items_behavior")
    params.done()
    _reckon(world, invoice)
    world.tell("invoice.created", invoice)
    return invoice


def add_item(world: World, params: Params) -> Thing:
    invoice = _in(world, params.needed("invoice"), "draft")
    customer, currency = params.needed("customer"), params.needed("currency")
    amount = params.number("amount")
    if customer != invoice["customer"] or currency != invoice["currency"] or amount is None:
        raise Problem(400, "The item does not fit the invoice.", param="invoice")
    balance.check_amount(amount, currency)
    item = world.new(
        "ii",
        "invoiceitem",
        amount=amount,
        currency=currency,
        customer=customer,
        invoice=invoice["id"],
        description=params.text("description"),
        metadata=params.mapping("metadata"),
    )
    params.done()
    _reckon(world, invoice)
    return item


def _reckon(world: World, invoice: Thing) -> None:
    items = [each for each in reversed(world.every("invoiceitem")) if each["invoice"] == invoice["id"]]
    total = sum(each["amount"] for each in items)
    invoice["lines"] = {
        "object": "list",
        "has_more": len(items) > 10,
        "url": f"/v1/invoices/{invoice['id']}/lines",
        "data": [{**each, "object": "line_item", "id": f"il_{each['id']}"} for each in items[:10]],
    }
    due = max(total, 0)
    invoice |= {"subtotal": total, "total": total, "amount_due": due, "amount_paid": 0, "amount_remaining": due}


def finalise(world: World, params: Params, identifier: str) -> Thing:
    invoice = _in(world, identifier, "draft")
    customers.living(world, invoice["customer"])
    invoice["auto_advance"] = params.truth("auto_advance", default=invoice["auto_advance"])
    params.done()
    invoice["number"] = invoice["number"] or world.fresh("STRIPE")
    invoice["status"] = "open"
    invoice["status_transitions"]["finalized_at"] = world.seconds
    invoice["hosted_invoice_url"] = f"https://invoice.stripe.test/i/{identifier}"
    world.tell("invoice.finalized", invoice)
    if invoice["amount_due"]:
        _new_payment(world, invoice)
    else:
        _paid(world, invoice)
    return invoice


def _new_payment(world: World, invoice: Thing) -> None:
    intent = charging.new_intent(
        world,
        customer=invoice["customer"],
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        _invoice=invoice["id"],
    )
    payment = world.new(
        "inpay",
        "invoice_payment",
        amount_paid=None,
        amount_requested=invoice["amount_due"],
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=True,
        status="open",
        payment={"type": "payment_intent", "payment_intent": intent["id"]},
    )
    invoice["payments"]["data"].append(payment)


def pay(world: World, params: Params, identifier: str) -> Thing:
    invoice = _in(world, identifier, "open", "uncollectible")
    elsewhere, given = params.truth("paid_out_of_band"), params.text("payment_method")
    params.truth("off_session", default=True)
    params.done()
    if elsewhere:
        invoice["amount_paid_off_stripe"] = invoice["amount_remaining"]
        _cancel(world, invoice)
        _paid(world, invoice)
        return invoice
    customer = customers.living(world, invoice["customer"])
    chosen = given or customer["invoice_settings"]["default_payment_method"]
    if chosen is None:
        raise Problem(400, "This customer has no default payment method.", code="missing", param="payment_method")
    intent = intent_of(world, invoice)
    if intent["status"] == "processing":
        raise Problem(400, "The invoice has a payment that is processing.", code="invoice_payment_in_progress")
    collect(world, intent, customers.method_of(world, customer["id"], chosen))
    return invoice


def collect(world: World, intent: Thing, method: Thing) -> None:
    """Try to take what an invoice asks for, from the customer's own page or for us."""
    invoice = world.get("invoice", intent["_invoice"])
    invoice["attempt_count"] += 1
    invoice["attempted"] = True
    try:
        charging.attempt(world, intent, method)
    except Problem as problem:
        if problem.error["code"] == "invoice_payment_intent_requires_action":
            world.tell("invoice.payment_action_required", invoice)
        world.tell("invoice.payment_failed", invoice)
        raise
    after(world, intent)


def after(world: World, intent: Thing) -> None:
    """What a payment intent's end means for the invoice that it is of."""
    identifier = intent.get("_invoice")
    if identifier is None:
        return
    invoice = world.get("invoice", identifier)
    if intent["status"] == "succeeded":
        (payment,) = invoice["payments"]["data"]
        payment |= {"status": "paid", "amount_paid": intent["amount"]}
        _paid(world, invoice)
    elif intent["last_payment_error"]:
        world.tell("invoice.payment_failed", invoice)


def intent_of(world: World, invoice: Thing) -> Thing:
    """The payment intent of an invoice that is finalised."""
    (payment,) = invoice["payments"]["data"]
    return world.get("payment_intent", payment["payment"]["payment_intent"])


def _paid(world: World, invoice: Thing) -> None:
    due = invoice["amount_due"]
    invoice |= {"status": "paid", "amount_paid": due, "amount_remaining": 0}
    invoice["status_transitions"]["paid_at"] = world.seconds
    world.tell("invoice.paid", invoice)
    if not invoice["amount_paid_off_stripe"]:
        world.tell("invoice.payment_succeeded", invoice)


def void(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    invoice = _in(world, identifier, "open", "uncollectible")
    _cancel(world, invoice)
    invoice |= {"status": "void", "amount_remaining": 0}
    invoice["status_transitions"]["voided_at"] = world.seconds
    world.tell("invoice.voided", invoice)
    return invoice


def _cancel(world: World, invoice: Thing) -> None:
    intent = intent_of(world, invoice)
    if intent["status"] == "processing":
        raise Problem(400, "The invoice has a payment that is processing.", code="invoice_payment_in_progress")
    intent["status"] = "canceled"
    world.tell("payment_intent.canceled", intent)


def delete(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    _in(world, identifier, "draft")
    del world.objects[identifier]
    return {"id": identifier, "object": "invoice", "deleted": True}


def retrieve(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    return world.get("invoice", identifier)


def list_invoices(world: World, params: Params) -> Thing:
    customer, status = params.text("customer"), params.text("status")

    def keep(each: Thing) -> bool:
        return (customer is None or each["customer"] == customer) and (status is None or each["status"] == status)

    found = listed("/v1/invoices", world.every("invoice"), params, keep)
    params.done()
    return found


def list_payments(world: World, params: Params) -> Thing:
    of_invoice, payment = params.text("invoice"), params.inner("payment")
    kind, intent = payment.text("type"), payment.text("payment_intent")
    payment.done()

    def keep(each: Thing) -> bool:
        said: Any = each["payment"]
        is_of_intent = kind is None or (said["type"], said["payment_intent"]) == (kind, intent)
        return is_of_intent and (of_invoice is None or each["invoice"] == of_invoice)

    found = listed("/v1/invoice_payments", world.every("invoice_payment"), params, keep)
    params.done()
    return found


def _in(world: World, identifier: str, *statuses: str) -> Thing:
    invoice = world.objects.get(identifier)
    if invoice is None or invoice["object"] != "invoice":
        raise missing("invoice", identifier)
    if invoice["status"] == "paid":
        raise Problem(400, "Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] not in statuses:
        raise Problem(400, f"The invoice is {invoice['status']}.", code="invoice_not_editable")
    return invoice
