"""Anthropic Messages, as providers speak it: Anthropic itself, and servers compatible with it."""

from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import Feature
from tollgate.gateway.providers.anthropic.answers import read_answer, reader, text_of
from tollgate.gateway.providers.anthropic.meaning import completion
from tollgate.gateway.providers.anthropic.requests import passed_request, translated_request
from tollgate.gateway.wire import read_error

WIRE = Wire.MESSAGES
EXPRESSES = frozenset({
    Feature.MAX_TOKENS, Feature.TEMPERATURE, Feature.TOP_P, Feature.TOP_K, Feature.STOP,
    Feature.TOOLS, Feature.TOOL_CHOICE, Feature.PARALLEL_TOOL_CALLS, Feature.RESPONSE_FORMAT, Feature.REASONING,
    Feature.SERVICE_TIER, Feature.IMAGES, Feature.IMAGE_URLS, Feature.FILES, Feature.FILE_URLS,
})  # fmt: skip

__all__ = [
    "EXPRESSES", "WIRE", "completion", "passed_request", "read_answer", "read_error", "reader", "text_of",
    "translated_request",
]  # fmt: skip
