"""What a chat may ask for: nothing whose cost the answer does not tell, and nothing that takes the call elsewhere.

Calls are made under the installation's own account at the provider: what a field
reaches there, all of its tenants reach.
"""

from collections.abc import Mapping

import msgspec

from tollgate.gateway.protocols import envelope
from tollgate.kit.errors import InvalidRequest

_UNBOUNDED = envelope.UNBOUNDED | {"max_output_tokens"}
_CHOICES = frozenset({"n_cmpl"})
"""What llama.cpp calls `n`."""
_SEARCHES = frozenset({"enable_search", "plugins", "search_parameters", "web_search_options"})
"""Charged by the search, which the usage of a chat does not count: by Alibaba, OpenRouter, xAI and OpenAI."""
_DEFERRED = frozenset({"deferred"})
"""xAI's answers to such calls are fetched later, and elsewhere."""
_REROUTED = frozenset({
    # By OpenRouter and by LiteLLM: another model's tokens, at another model's price, or another server's.
    "api_base", "base_url", "fallbacks", "preset", "route",
    # By vLLM and Azure: files, caches and indexes of the provider's, or of its account's owner.
    "data_sources", "kv_transfer_params", "lora_path",
})  # fmt: skip
REFUSED = _UNBOUNDED | _CHOICES | _SEARCHES | _DEFERRED | _REROUTED
"""The fields that no call may have, unless they ask for nothing."""
_TOLD_TOOLS = frozenset({"custom", "function"})
"""The client runs these itself. Without a type, a tool is a function to those who take it at all."""

_TOOLS = msgspec.json.Decoder(tuple[dict[str, msgspec.Raw], ...] | None)


def check(fields: Mapping[str, msgspec.Raw]) -> None:
    """Refuse what could not be bounded or told, and what would be answered by somebody else or at another time.

    Raises:
        InvalidRequest: the request has such a field or such a tool, or the tools have the wrong form.
    """
    if REFUSED.isdisjoint(fields) and "tools" not in fields:
        return
    envelope.refuse(fields, _UNBOUNDED, "bound answers by max_tokens and n.")
    envelope.refuse_asked(fields, _CHOICES, "ask for several answers by n.")
    envelope.refuse_asked(fields, _SEARCHES, "an answer does not tell what its searches cost.")
    envelope.refuse_asked(fields, _DEFERRED, "wait for the answer, or stream it.")
    envelope.refuse_asked(fields, _REROUTED, "choose models by models, and providers by provider.")
    for number, tool in enumerate(envelope.field(fields, "tools", _TOOLS) or ()):
        name = f"tools[{number}].type"
        kind = envelope.field({name: tool.get("type", envelope.NULL)}, name, envelope.TEXT)
        if kind is not None and kind not in _TOLD_TOOLS:
            raise InvalidRequest(
                f"{name}: {kind[:100]} is not supported; an answer does not tell what it cost.", field=name
            )
