"""The use cases of payments: what is collected, what goes back, and what is compared with Stripe."""
