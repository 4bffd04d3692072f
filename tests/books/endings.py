"""How calls end, as strategies choose it: every status, and amounts below, at and above what was held."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from hypothesis import strategies as st
from tests.metering.scene import Caller, a_settlement

from tollgate.kit.ids import CallId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering.model import CallStatus, Settlement
from tollgate.metering.rules import charge_records
from tollgate.pricing.model import Charge

UNIT = Decimal("0.000001")
"""What a prompt token costs in the scene; an output token costs three."""
_STATUSES = (CallStatus.SETTLED, CallStatus.CANCELLED, CallStatus.FAILED, CallStatus.INSURED, CallStatus.RECOVERED)


@dataclass(frozen=True, slots=True)
class Ending:
    """So many tokens, or, without a prompt, as much prompt as was held."""

    status: CallStatus
    prompt: int | None
    completion: int


endings = st.builds(
    Ending,
    st.sampled_from(_STATUSES),
    st.one_of(st.none(), st.just(0), st.integers(0, 80)),
    st.sampled_from([0, 0, 1, 7]),
)


def ended(ending: Ending, caller: Caller, call_id: CallId, at: datetime, held: Decimal = UNIT) -> Settlement:
    """What the call leaves behind."""
    prompt = int(held / UNIT) if ending.prompt is None else ending.prompt
    # What broke off before any output costs nothing, so it is not there.
    completion = max(ending.completion, 1) if ending.status is CallStatus.FAILED else ending.completion
    settlement = a_settlement(caller, call_id, at, prompt=prompt, completion=completion, status=ending.status)
    if ending.status is not CallStatus.INSURED:
        return settlement
    nothing = Charge(items=(), amount=Decimal(0), unpriced=(), tier=0)
    used = UsageQuantities({Kind.PROMPT: prompt, Kind.COMPLETION: completion})
    free = settlement.call._replace(amount=nothing.amount, origin_amount=nothing.amount)
    return settlement._replace(call=free, charges=charge_records(call_id, nothing, used))
