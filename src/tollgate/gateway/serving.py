"""Serving: what one call in this process goes along with, and what an operator hears of it when it has ended."""

from dataclasses import dataclass

import structlog

from tollgate.gateway import endings
from tollgate.gateway.endings import Call, Usage
from tollgate.gateway.model import Client, Receipt
from tollgate.gateway.relay import Relay
from tollgate.gateway.stopwatch import Stopwatch
from tollgate.gateway.translation import Outlet
from tollgate.gateway.whole import Whole
from tollgate.infra import telemetry
from tollgate.kit.errors import LedgerUnavailable, ProviderFailed, TollgateError
from tollgate.metering.model import CallStatus
from tollgate.pricing.model import Charge

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Serving:
    """What one call in this process goes along with: its client, what some provider answers, and its receipt."""

    call: Call
    client: Client
    watch: Stopwatch
    answering: Relay | Whole | None = None
    """What some provider answered."""
    outlet: Outlet | None = None
    usage: Usage | None = None
    charge: Charge | None = None
    failure: TollgateError | None = None
    """Why its client gets no good end, though the provider may have given one."""
    noted_events: int = 0
    """How many events of its stream had come when it was last noted."""
    delivered_tokens: int = 0
    """What they delivered, as far as it was counted."""

    @property
    def streamed(self) -> Relay:
        """The stream that some provider began."""
        if not isinstance(self.answering, Relay):
            raise ProviderFailed
        return self.answering

    @property
    def whole(self) -> Whole:
        """The answer that some provider gave in one piece."""
        if not isinstance(self.answering, Whole):
            raise ProviderFailed
        return self.answering

    @property
    def receipt(self) -> Receipt:
        """What the client is told about the call once it is settled."""
        if self.charge is None or self.usage is None:
            raise LedgerUnavailable
        endpoint = self.call.attempts[-1].candidate.endpoint
        return Receipt(
            generation_id=self.call.generation_id,
            model=endpoint.model,
            provider=endpoint.provider,
            quantities=self.usage.quantities,
            estimated=self.usage.estimated,
            charge=self.charge,
        )


def report(call: Call, usage: Usage, status: CallStatus) -> None:
    """Count what an operator watches."""
    telemetry.count(telemetry.CALLS, status)
    serving, told = call.serving, call.answer.usage
    if serving is None:
        return
    provider, tier = serving.candidate.provider.slug, endings.served_tier(call.answer)
    if told is not None and told.anomalous:
        telemetry.ANOMALIES.labels(provider).inc()
    if told is not None and told.unknown:
        telemetry.UNKNOWN_USAGE.labels(provider).inc()
        _log.warning("usage has fields with counts we do not know", provider=provider, fields=told.unknown[:20])
    if usage.disputed:
        telemetry.DISPUTED_USAGE.labels(provider).inc()
    if tier is not None and endings.price_of(serving).service_tier != tier:
        telemetry.UNPRICED_TIERS.labels(provider).inc()
