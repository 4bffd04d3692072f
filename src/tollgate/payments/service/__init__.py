"""The use cases of payments at Stripe. Whatever asks Stripe does so between transactions, never within one.

What begins by itself or by somebody's word stands first, and each calls only what comes after it:

- `inbox` keeps events and hands them to `handlers`, and those of invoices, refunds, disputes and payouts to `hearing`;
- `reconciling` compares the books once a day, `sweeping` does what is due, `overseeing` is the operator's;
- `clearing` posts fees and payouts; `returning` refunds and disputes; `sources` knows what a payment paid for;
- `collecting` takes the steps of one invoice, with `past_due` for whoever does not pay and `turns` to write it down;
- `top_ups`, with `opening`, sells credit; `methods` are the customer's own pages;
- `means` is what collecting is given, with a way to Stripe if there is one; `customers` is who is who there;
  `surroundings` is what is given where there is a way for sure, by word of `configured`.
"""
