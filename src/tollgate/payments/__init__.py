"""Payments: money that moves at Stripe.

Owns the one door to Stripe, the inbox of its webhooks, customers' pages there, top-ups of credit, the collecting of
invoices, what goes back, and the comparison of both books. Does not own the invoices that are paid, nor the ledger that
money is posted to. Do not confuse its values, which say what Stripe says,
with those of the invoices' slice, which are the truth.
"""
