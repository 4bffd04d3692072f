"""Tollgate as a contestant, with everything on, and no gateway at all: what others are measured against."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version

from scripts.benchmarks.contestants import Contestant, NotStarted, Served
from scripts.benchmarks.group import DATABASE, GATEWAY, BenchFailed, Group, grant, process, running
from scripts.benchmarks.machine import OTHER_CPUS, pin, pinned

MODEL = "bench/tollgate"
UPSTREAM_MODEL = "tollgate"
"""What the fake provider is asked for, and so what its log says."""
PRICES = {
    "prompt": Decimal("2.5"),
    "input_cache_read": Decimal("0.25"),
    "completion": Decimal(10),
    "internal_reasoning": Decimal(12),
}
"""US dollars a million tokens."""

PROVIDER = "bench"
_AMOUNT, _RATE = "1000000", 10**9
"""Limits that nobody reaches, and that have to be looked at all the same."""


@dataclass(slots=True)
class Tollgate:
    """The contestant, and its group once it runs, for whoever looks into its books."""

    workers: int = 1
    group: Group | None = None

    @property
    def contestant(self) -> Contestant:
        """As the others see it."""
        return Contestant("tollgate", version("tollgate"), "every call, before its answer ends", self._running)

    @contextmanager
    def _running(self, provider_url: str, cpu: int) -> Iterator[Served]:
        with ExitStack() as stack:
            try:
                with pinned(OTHER_CPUS):
                    group = stack.enter_context(running(self.workers, TOLLGATE_ALLOW_PRIVATE_UPSTREAMS="1"))
                key = _offer(group, provider_url)
                gateway_pid, database_pid = process(group, GATEWAY), process(group, DATABASE)
            except BenchFailed as error:
                raise NotStarted(error.message) from error
            pin(gateway_pid, {cpu})
            self.group = group
            yield Served(
                base_url=group.base_url,
                headers={"authorization": f"Bearer {key}"},
                model=MODEL,
                pid=gateway_pid,
                database_pid=database_pid,
                group_pid=group.pid,
            )


def _offer(group: Group, provider_url: str) -> str:
    """Have the model at the fake provider, and credit, limits and a key to call it with."""

    def admin(path: str, body: object) -> None:
        group.post(f"/admin{path}", body, key=group.operator_key)

    admin("/models", {"slug": MODEL, "name": "Benchmark"})
    admin("/providers", {"slug": PROVIDER, "name": "Fake", "format": "openai_compatible", "base_url": provider_url})
    admin("/endpoints", {"model": MODEL, "provider": PROVIDER, "upstream_model": UPSTREAM_MODEL})
    items = [{"kind": kind, "price": str(price), "unit": "per_million_tokens"} for kind, price in PRICES.items()]
    admin("/prices", {"model": MODEL, "provider": PROVIDER, "items": items})
    grant(group)
    limits = {"daily": _AMOUNT, "monthly": _AMOUNT, "rpm": _RATE, "tpm": _RATE, "concurrency": _RATE}
    group.patch("/limits", limits, key=group.management_key)
    made = group.post("/keys", {"name": "benchmark", "limits": limits}, key=group.management_key)
    key: str = made["key"]
    return key


@contextmanager
def _no_gateway(provider_url: str, cpu: int) -> Iterator[Served]:
    del cpu
    yield Served(provider_url, {}, "direct", None)


DIRECT = Contestant("direct", "-", "nothing: there is no gateway", _no_gateway)
