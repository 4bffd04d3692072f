"""Metering leaner in small batches: less is aggregated, and what belongs to a scope is found by its place."""

import re
from pathlib import Path

from alembic import op

from tollgate.infra.migrations import run_script

revision = "0026_metering"
down_revision = "0025_usage_sums"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
NEW = (
    "settle(call_record[], charge_record[], attempt_record[], timestamptz)",
    "roll_up(call_record[], charge_record[], numeric[], integer[])",
    "record_calls(call_record[], numeric[], numeric[], integer[], timestamptz)",
    "move_counters(counters[], uuid[], call_record[], holds[])",
    "ledger_charge_calls(anyarray, timestamptz, text)",
    "taken_from(counters, numeric, bigint, bigint)",
    "refusal(admission_request, limits[], counters[], numeric, text)",
    "lock_counters(anyarray, timestamptz)",
)
BEFORE = (
    "ledger_charge_calls",
    "lock_counters",
    "admit",
    "moved_counters",
    "write_counters",
    "record_calls",
    "roll_up",
    "settle",
    "settle_and_flush",
    "release_expired_holds",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    run_script(op.get_bind(), (SQL / "0026_metering.sql").read_text())


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for function in NEW:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP TYPE standing")
    op.execute("ALTER TYPE ledger_charge RENAME ATTRIBUTE accepted_at TO occurred_at")
    script = (SQL / "0024_metering.sql").read_text()
    for name in BEFORE:
        definition = re.compile(rf"^CREATE ((?:FUNCTION|PROCEDURE) {name}\(.*?^\$\$;)$", re.DOTALL | re.MULTILINE)
        (found,) = definition.findall(script)
        run_script(op.get_bind(), f"CREATE OR REPLACE {found}")
