"""Anthropic Messages, as clients speak it."""

from collections.abc import Mapping

from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import Feature
from tollgate.gateway.protocols.anthropic_messages.decoding import count_tokens, decode
from tollgate.gateway.protocols.anthropic_messages.failures import error_type, failure
from tollgate.gateway.protocols.anthropic_messages.meaning import conversation
from tollgate.gateway.protocols.anthropic_messages.passing import passage, passed_answer
from tollgate.gateway.protocols.anthropic_messages.rendering import rendered_answer, rendering, token_count

WIRE = Wire.MESSAGES
NAMES: Mapping[Feature, str] = {
    Feature.STOP: "stop_sequences",
    Feature.PARALLEL_TOOL_CALLS: "tool_choice.disable_parallel_tool_use",
    Feature.RESPONSE_FORMAT: "output_config.format",
    Feature.REASONING: "thinking",
    Feature.IMAGES: "messages.content.image",
    Feature.IMAGE_URLS: "messages.content.image.source.url",
    Feature.FILES: "messages.content.document",
    Feature.FILE_URLS: "messages.content.document.source.url",
    Feature.FILE_IDS: "messages.content.source.file_id",
}

__all__ = [
    "NAMES", "WIRE", "conversation", "count_tokens", "decode", "error_type", "failure", "passage", "passed_answer",
    "rendered_answer", "rendering", "token_count",
]  # fmt: skip
