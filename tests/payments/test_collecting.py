"""Collecting an invoice at Stripe: one mirror, one charge, whatever goes wrong."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.payments.builders import Desk, days
from tests.payments.stripe_double import Kind

from tollgate.invoices.model import InvoiceStatus
from tollgate.payments.states import CollectionState, Policy

WAITS, DONE, PARKED = CollectionState.OPEN, CollectionState.DONE, CollectionState.PARKED


class TestAnInvoice:
    async def test_is_mirrored_line_by_line_and_taken_from_the_stored_method(self, desk: Desk) -> None:
        heading = await desk.invoiced()

        done = await desk.collect(heading)

        assert done is not None
        assert done.state is DONE
        paid = await desk.heading(heading)
        assert (paid.status, paid.amount_paid) == (InvoiceStatus.PAID, paid.totals.total)
        [mirror] = desk.double.every("invoice")
        assert (mirror["number"], mirror["status"], mirror["total"]) == (heading.number, "paid", 1000)
        assert await desk.balance(heading, "stripe_clearing") == "10"
        assert await desk.balance(heading, "receivable") == "0"
        assert len(desk.double.every("charge")) == 1
