"""Beginnings: what is written down of a call before its first attempt, in case nothing more is heard of it. Pure."""

from tollgate.catalog.model import Format
from tollgate.gateway import recordable
from tollgate.gateway.endings import Call
from tollgate.metering.model import Begun


def begun(call: Call) -> Begun:
    """The call as its first attempt begins: from it follows what `endings.settlement_if_lost` says of it now."""
    request, principal, attempt = call.request, call.principal, call.attempts[0]
    attribution, endpoint = request.attribution, attempt.candidate.endpoint
    return Begun(
        organization_id=principal.organization_id,
        call_id=call.id,
        project_id=principal.project_id,
        key_id=principal.key_id,
        accepted_at=call.accepted_at,
        requested_model=request.models[0],
        model=endpoint.model,
        provider=endpoint.provider,
        endpoint_id=endpoint.id,
        api=request.wire,
        streamed=request.stream,
        user_id=attribution.user,
        session_id=attribution.session_id,
        metadata=recordable.metadata(attribution.metadata, is_lost=True),
        attempt_id=attempt.id,
        prompt_tokens=call.prompt.likely,
        costs_us=attempt.candidate.provider.format is not Format.SANDBOX,
        price=attempt.candidate.price,
    )
