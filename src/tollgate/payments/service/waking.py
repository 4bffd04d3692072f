"""The jobs of payments: which row each is about. The row says what is to be done, and whether it is due."""

from collections.abc import Sequence
from uuid import UUID

from tollgate.infra import jobs
from tollgate.infra.database import WriteSession
from tollgate.kit import ids
from tollgate.kit.ids import OrganizationId

COLLECT_JOB = "collect-invoices"
"""Takes an invoice's collection further. The database asks for it as well, wherever it wakes a collection."""
REFUND_JOB = "ask-for-refunds"
TOP_UP_JOB = "look-after-top-ups"
EVENT_JOB = "act-on-stripe-events"
"""Its subject is the event's id."""
PREFIXES = {COLLECT_JOB: "inv", REFUND_JOB: "re", TOP_UP_JOB: "tup"}


def subject(job: str, owner: OrganizationId, row: UUID) -> str:
    """The subject that names the organization's row."""
    return f"{ids.typed('org', owner)}/{ids.typed(PREFIXES[job], row)}"


def row_of(job: str, subject: str) -> tuple[OrganizationId, UUID]:
    """The organization and its row that a subject names."""
    owner, row = subject.split("/")
    return OrganizationId(ids.parse("org", owner)), ids.parse(PREFIXES[job], row)


async def ask(session: WriteSession, job: str, rows: Sequence[tuple[OrganizationId, UUID]]) -> None:
    """Ask for the job for each of these rows."""
    await jobs.enqueue_all(session, job=job, subjects=[subject(job, owner, row) for owner, row in rows])
