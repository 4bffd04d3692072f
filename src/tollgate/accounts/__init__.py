"""Accounts: who pays. Owns organizations, their projects, and the limits set on organizations, projects and keys.

Does not own what has been used against a limit (metering), nor balances (ledger), nor API keys (keys).
"""
