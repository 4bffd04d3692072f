"""Agreements: what an organization agreed to pay beside its calls, how it is taxed, and how it is addressed.

Owns billing details, the issuer of the installation's invoices, subscriptions, minimum commitments and discounts, and
what a month costs under each. Does not own the invoices that say so, and knows no usage. Do not confuse a discount (of
what a month's usage comes to) with a price adjustment (of unit prices, before anything is charged by them).
"""
