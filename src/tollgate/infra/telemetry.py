"""Telemetry: structured logs without secrets or content, and a metric for everything that can go wrong."""

import logging
import sys

import structlog
from prometheus_client import Counter, Histogram

ADMISSIONS = Counter("tollgate_admissions_total", "Requests for holds, by outcome.", ["outcome"])
BATCHES = Histogram(
    "tollgate_batch_size",
    "Calls that shared one round trip.",
    ["statement"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
SETTLE_RETRIES = Counter("tollgate_settle_retries_total", "Settlements sent again because the ledger was away.")
UNSETTLED = Counter("tollgate_unsettled_total", "Calls the ledger refused to record. Alarm on any.")
EXPIRED_HOLDS = Counter("tollgate_expired_holds_total", "Holds given back because no one settled their calls in time.")
OVERRUNS = Counter("tollgate_overruns_total", "Calls that cost more than their hold.")
CALLS = Counter("tollgate_calls_total", "Calls that ended, by status.", ["status"])
ATTEMPTS = Counter("tollgate_attempts_total", "Tries at providers, by provider and outcome.", ["provider", "outcome"])
ANOMALIES = Counter(
    "tollgate_usage_anomalies_total", "Usage objects that contradict themselves, by provider.", ["provider"]
)
UNKNOWN_USAGE = Counter(
    "tollgate_unknown_usage_total", "Calls whose usage had counts in fields that we do not know.", ["provider"]
)
ERRORS = Counter("tollgate_errors_total", "Errors answered to callers, by type.", ["type"])


def configure_logging(*, level: int = logging.INFO) -> None:
    """Write one JSON object a line to standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
