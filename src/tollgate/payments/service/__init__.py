"""The use cases of payments at Stripe. Whatever asks Stripe does so between transactions, never within one."""
