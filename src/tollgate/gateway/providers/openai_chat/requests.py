"""Chat completion requests to providers: OpenAI itself, Azure OpenAI, and the many servers compatible with it.

Wire format: https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Mapping

import msgspec

from tollgate.catalog.model import Format
from tollgate.gateway import bounds, wire
from tollgate.gateway.model import Access, Candidate, Request, UpstreamRequest
from tollgate.gateway.providers import openai_address

_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")


def passed_request(
    request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
) -> UpstreamRequest:
    """The request to send: the client's own fields under the provider's name for the model.

    Usage is asked for always, and output bounded by one field alone, by as much as the hold carries.
    """
    fields = {name: value for name, value in request.fields.items() if name not in _OUTPUT_LIMITS}
    fields |= {"model": wire.raw(candidate.endpoint.upstream_model), **_output_limit(request, candidate, output_cap)}
    if request.stream:
        options = msgspec.json.decode(fields.get("stream_options", b"null"), type=dict[str, msgspec.Raw] | None) or {}
        fields["stream_options"] = wire.raw({**options, "include_usage": True})
    return UpstreamRequest(
        url=openai_address.url(candidate.provider, access, "/chat/completions"),
        headers=openai_address.headers(candidate.provider, access),
        body=msgspec.json.encode(fields),
        stream=request.stream,
    )


def _output_limit(request: Request, candidate: Candidate, output_cap: int | None) -> Mapping[str, msgspec.Raw]:
    """The one field that bounds the output: the client's own as it came where that will do, else the endpoint's."""
    limit = bounds.asked_output(request, candidate.endpoint, output_cap)
    if limit is None:
        return {}
    supported = [name for name in _OUTPUT_LIMITS if name in candidate.endpoint.supported_parameters]
    given = [name for name in _OUTPUT_LIMITS if bytes(request.fields.get(name, b"null")) != b"null"]
    if limit == request.max_tokens and len(given) == 1 and (given[0] in supported or not supported):
        return {given[0]: request.fields[given[0]]}
    if not supported:
        # Servers that imitate OpenAI all know the older name, and some ignore the newer; OpenAI's newest models
        # refuse the older.
        supported = ["max_tokens" if candidate.provider.format is Format.OPENAI_COMPATIBLE else "max_completion_tokens"]
    return {supported[0]: wire.raw(limit)}
