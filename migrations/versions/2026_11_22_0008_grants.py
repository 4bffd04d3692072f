"""Grants that end by expiry or void, top-ups by reference, and adjustments with their lines on invoices."""

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

from tollgate.infra.migrations import run_script

revision = "0008_grants"
down_revision = "0007_translation"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(38, 12)
SQL = Path(__file__).parent.parent / "sql"
CHARGING_BEFORE = re.compile(r"^(CREATE FUNCTION ledger_charge_calls\w*\(.*?^\$\$;)$", re.DOTALL | re.MULTILINE)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0008_grants.sql").read_text())
    for name in ("adjustments_exact", "adjustments"):
        op.add_column("invoices", sa.Column(name, MONEY, nullable=False, server_default="0"))
    op.add_column("invoice_lines", sa.Column("adjustment_id", sa.Uuid))
    op.add_column("invoice_lines", sa.Column("adjustment_reason", sa.Text))
    _check("invoices", "invoices_total_exact", "total_exact = subtotal_exact + adjustments_exact + credits_exact")
    _check("invoices", "invoices_total", "total = subtotal + adjustments + credits")
    _check("invoice_lines", "invoice_lines_type", "type IN ('usage', 'adjustment', 'credits')")
    op.create_check_constraint(
        "invoice_lines_adjustment",
        "invoice_lines",
        "num_nonnulls(adjustment_id, adjustment_reason) = CASE type WHEN 'adjustment' THEN 2 ELSE 0 END",
    )


def _check(table: str, name: str, condition: str) -> None:
    op.drop_constraint(name, table)
    op.create_check_constraint(name, table, condition)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _check("invoice_lines", "invoice_lines_type", "type IN ('usage', 'credits')")
    _check("invoices", "invoices_total", "total = subtotal + credits")
    _check("invoices", "invoices_total_exact", "total_exact = subtotal_exact + credits_exact")
    for name in ("adjustment_reason", "adjustment_id"):
        op.drop_column("invoice_lines", name)
    for name in ("adjustments", "adjustments_exact"):
        op.drop_column("invoices", name)
    for function in (
        "end_grants",
        "is_held_since_before",
        "lock_organization",
        "ledger_charge_calls",
        "ledger_charge_calls_of_one_time",
    ):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("adjustments")
    for name in ("ends_at", "unused", "closed_at", "void_reason", "voided_by", "voided_at", "reference"):
        op.drop_column("grants", name)
    for charging in CHARGING_BEFORE.findall((SQL / "0003_ledger.sql").read_text()):
        run_script(op.get_bind(), charging)
