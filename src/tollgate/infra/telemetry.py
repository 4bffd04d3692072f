"""Telemetry: structured logs without secrets or content, and a metric for everything that can go wrong."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tollgate.infra import settings

IN_FLIGHT = Gauge(
    "tollgate_calls_in_flight", "Calls that are begun and not recorded in the ledger.", multiprocess_mode="livesum"
)
UNRECORDED = Gauge(
    "tollgate_unrecorded_settlements",
    "Settlements on their way to the ledger: more than a batch or two of them means that it does not take them.",
    multiprocess_mode="livesum",
)

ADMISSIONS = Counter("tollgate_admissions_total", "Requests for holds, by outcome.", ["outcome"])
BATCHES = Histogram(
    "tollgate_batch_size",
    "Calls that shared one round trip.",
    ["statement"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
BATCHES_OVERTAKEN = Counter(
    "tollgate_batches_overtaken_total",
    "Batches that took so long that the next one did not wait for them.",
    ["statement"],
)
SETTLE_RETRIES = Counter("tollgate_settle_retries_total", "Settlements sent again because the ledger was away.")
SPOOLED = Counter("tollgate_spooled_total", "Settlements kept on the local disk because the ledger was away.")
SAFEKEEPING_FAILURES = Counter(
    "tollgate_safekeeping_failures_total",
    "Calls under way that the local disk did not take, by file: they are lost if their process is. Alarm on any.",
    ["file"],
)
RECOVERED = Counter("tollgate_recovered_total", "Calls recorded in the place of a process that died.", ["by"])
for _by in ("heir", "sweep"):
    RECOVERED.labels(_by)
for _file in ("journal", "spool", "estate"):
    # A series that is there from the beginning has a first rise to be alarmed by.
    SAFEKEEPING_FAILURES.labels(_file)
LATE = Counter(
    "tollgate_late_settlements_total",
    "Settlements of calls that had been recovered already, at another amount. Alarm on any.",
)
CLOCKS_APART = Counter(
    "tollgate_clocks_apart_total", "Times a process found its clock far from the database's. Alarm on any."
)
OFFLINE = Counter("tollgate_offline_admissions_total", "Calls admitted on the offline allowance.")
UNSETTLED = Counter("tollgate_unsettled_total", "Calls the ledger refused to record. Alarm on any.")
EXPIRED_HOLDS = Counter("tollgate_expired_holds_total", "Holds given back because no one settled their calls in time.")
OVERRUNS = Counter("tollgate_overruns_total", "Calls that cost more than their hold.")
CALLS = Counter("tollgate_calls_total", "Calls that ended, by status.", ["status"])
PDF_FAILURES = Counter(
    "tollgate_pdf_failures_total", "PDF files that could not be made, by reason: failed, late, or busy.", ["reason"]
)
for _reason in ("failed", "late", "busy"):
    PDF_FAILURES.labels(_reason)
CIRCUIT_OPENINGS = Counter(
    "tollgate_circuit_openings_total", "Times an endpoint was found unfit, or still unfit, by fault.", ["fault"]
)
ATTEMPTS = Counter("tollgate_attempts_total", "Tries at providers, by provider and outcome.", ["provider", "outcome"])
ANOMALIES = Counter(
    "tollgate_usage_anomalies_total", "Usage objects that contradict themselves, by provider.", ["provider"]
)
UNKNOWN_USAGE = Counter(
    "tollgate_unknown_usage_total", "Calls whose usage had counts in fields that we do not know.", ["provider"]
)
DISPUTED_USAGE = Counter(
    "tollgate_disputed_usage_total", "Calls whose usage by their provider is far from our own count.", ["provider"]
)
UNPRICED_TIERS = Counter(
    "tollgate_unpriced_tiers_total",
    "Calls served in a service tier that has no price; charged at the price they were planned with.",
    ["provider"],
)
INCONSISTENT = Counter(
    "tollgate_inconsistent_charges_total", "Calls whose charge is not what their price version makes it. Alarm on any."
)
SAMPLES_FOLDED = Counter(
    "tollgate_samples_folded_total",
    "Samples of how endpoints did that the worker folded. Alarm if it stands still while calls are settled.",
)
WEBHOOK_DELIVERIES = Counter(
    "tollgate_webhook_deliveries_total", "Attempts to tell a webhook of an event, by what they came to.", ["outcome"]
)
for _outcome in ("delivered", "retried", "failed", "gone", "broken"):
    WEBHOOK_DELIVERIES.labels(_outcome)
WEBHOOK_SECRETS_LOCKED = Counter(
    "tollgate_webhook_secrets_locked_total",
    "Attempts whose secret this host's sealing key does not open. Alarm on any.",
)
COLLECTIONS_PARKED = Counter(
    "tollgate_collections_parked_total",
    "Times the collection of an invoice was parked for a person to look at. Alarm on any.",
)
COLLECTION_ERRORS = Counter(
    "tollgate_collection_errors_total",
    "Steps of collecting that Stripe did not do, and that are tried again.",
    ["error"],
)
COLLECTION_WAIT = Gauge(
    "tollgate_collection_oldest_due_seconds",
    "For how long the longest due step of collecting has waited.",
    multiprocess_mode="mostrecent",
)
PAYMENT_FAILURES = Counter("tollgate_payment_failures_total", "Attempts to take an invoice's money that were declined.")
SUSPENSIONS = Counter("tollgate_suspensions_total", "Organizations suspended because they did not pay.")
REFUNDS_FAILED = Counter(
    "tollgate_refunds_failed_total", "Refunds that Stripe or a customer's bank refused. Alarm on any."
)
DISPUTES = Counter("tollgate_disputes_total", "Payments that a customer's bank took back. Alarm on any.")
RECONCILIATION_DIFFERENCES = Gauge(
    "tollgate_reconciliation_differences",
    "Things in which our books and Stripe's differed when they were last compared. Alarm on any.",
    multiprocess_mode="mostrecent",
)
STRIPE_FAILURES = Counter(
    "tollgate_stripe_failures_total", "Steps of payments that Stripe did not let us finish, by error.", ["error"]
)
STRIPE_EVENTS = Counter(
    "tollgate_stripe_events_total", "Events that Stripe told us of, by what became of them.", ["outcome"]
)
TOP_UPS = Counter("tollgate_top_ups_total", "Top-ups that came to an end, by status. Alarm on any parked.", ["status"])
for _outcome in ("received", "known", "refused", "processed", "ignored", "failed"):
    STRIPE_EVENTS.labels(_outcome)
for _status in ("paid", "expired", "failed", "parked"):
    TOP_UPS.labels(_status)
RERATE_FAILURES = Counter(
    "tollgate_rerate_failures_total",
    "Organizations whose part of a re-rate could not be measured or posted; it is tried again.",
)
CLOSINGS = Counter(
    "tollgate_closings_total",
    "Months of organizations that were tried to be closed, by what came of it. Alarm on failed.",
    ["outcome"],
)
JOBS = Counter(
    "tollgate_jobs_total",
    "Runs of jobs and schedules that ended, by job and outcome. Alarm on given_up: it is not tried again by itself.",
    ["job", "outcome"],
)
SCHEDULE_SECONDS = Histogram(
    "tollgate_schedule_seconds",
    "How long a run of a schedule took, by job.",
    ["job"],
    buckets=(0.01, 0.1, 1, 10, 60, 600),
)
ERRORS = Counter("tollgate_errors_total", "Errors told to callers, by type.", ["type"])
PROMPTS = Counter(
    "tollgate_prompts_total",
    "Calls that were held for, by how long their prompt was taken to be: counted, recalled, or by_bytes.",
    ["how"],
)
for _how in ("counted", "recalled", "by_bytes"):
    PROMPTS.labels(_how)
PROMPTS_COUNTED_LATE = Counter(
    "tollgate_prompts_counted_late_total", "Prompts that were counted after their call was held for by their bytes."
)
ROLLUPS_FOLDED = Counter("tollgate_rollups_folded_total", "Rows of rollups that the worker folded into sums.")

_CAUSES_MAX = 10
_GAUGES_OF_THE_LIVING = "gauge_live*_*.db"


class Reading(NamedTuple):
    """A figure as it is at this moment, wherever it was read."""

    name: str
    purpose: str
    value: float


def exposition(metrics_dir: str | None, readings: Sequence[Reading]) -> bytes:
    """All metrics as Prometheus reads them: of every process that counts in the directory, or else of this one."""
    counted = prometheus_client.REGISTRY
    if metrics_dir:
        _forget_the_dead(Path(metrics_dir))
        counted = CollectorRegistry()
        multiprocess.MultiProcessCollector(counted, metrics_dir)  # type: ignore[no-untyped-call]  # the library leaves it untyped
    read = CollectorRegistry()
    read.register(_Readings(readings))
    return prometheus_client.generate_latest(counted) + prometheus_client.generate_latest(read)


class _Readings(Collector):
    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        for reading in self._readings:
            yield GaugeMetricFamily(reading.name, reading.purpose, reading.value)


def _forget_the_dead(directory: Path) -> None:
    """Remove the gauges of processes that are gone: whoever is killed cannot do that itself. Their counts stay."""
    for pid in {path.stem.rpartition("_")[2] for path in directory.glob(_GAUGES_OF_THE_LIVING)}:
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]  # as above
        except PermissionError:
            continue


_COUNTED: dict[tuple[Counter, tuple[str, ...]], int] = {}
"""What was counted and not told to the counters yet."""


def count(counter: Counter, *labels: str) -> None:
    """Add one to a counter, soon: once a second it is told of all together, for one by one takes as long as rating."""
    key = (counter, labels)
    _COUNTED[key] = _COUNTED.get(key, 0) + 1


def tell_counts() -> None:
    """Tell the counters what was counted."""
    for (counter, labels), times in _COUNTED.items():
        counter.labels(*labels).inc(times)
    _COUNTED.clear()


def configure_logging() -> None:
    """Write one JSON object a line to standard error: what we say from INFO on, what libraries say from WARNING on."""
    begun: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ended: list[structlog.typing.Processor] = [_without_content, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*begun, *ended],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    theirs = logging.StreamHandler(sys.stderr)
    theirs.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*begun, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ended],
        )
    )
    logging.basicConfig(handlers=[theirs], level=logging.WARNING, force=True)


def warn_of_unknown_settings(environment: Mapping[str, str]) -> None:
    """Tell the names, and nothing else, of variables that only look like settings."""
    unknown = settings.unknown(environment)
    if unknown:
        structlog.get_logger(__name__).warning("settings that do not exist are ignored", names=unknown)


def raised(error: BaseException) -> dict[str, object]:
    """What may be logged of an exception: types and places, not its message, which may quote a request or a row."""
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < _CAUSES_MAX:
        causes.append(f"{type(cause).__module__}.{type(cause).__qualname__}")
        cause = cause.__cause__ or cause.__context__
    return {"raised": causes, "traceback": "".join(traceback.format_tb(error.__traceback__))}


def _without_content(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    told = event.pop("exc_info", None)
    error = told[1] if isinstance(told, tuple) else told
    return {**event, **raised(error)} if isinstance(error, BaseException) else event
