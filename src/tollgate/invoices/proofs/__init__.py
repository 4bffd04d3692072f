"""What must hold of issued invoices, of what was done to them afterwards, and of what the ledger says of both."""

from collections.abc import Sequence

from tollgate.invoices.proofs import issuing, settling
from tollgate.kit.checks import Check

CHECKS: Sequence[Check] = (*issuing.CHECKS, *settling.CHECKS)
"""Everything invoices can prove."""
