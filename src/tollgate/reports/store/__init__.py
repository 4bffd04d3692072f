"""All SQL of the reports: over rollups and calls, over the ledger, and over the counters that admission moves."""
