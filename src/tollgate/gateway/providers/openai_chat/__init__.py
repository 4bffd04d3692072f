"""OpenAI Chat Completions, as providers speak it: OpenAI, Azure OpenAI, and the many servers compatible with it."""

from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import Feature
from tollgate.gateway.providers.openai_chat.answers import read_answer, reader, text_of
from tollgate.gateway.providers.openai_chat.meaning import completion
from tollgate.gateway.providers.openai_chat.requests import passed_request, translated_request
from tollgate.gateway.wire import read_error

WIRE = Wire.CHAT
EXPRESSES = frozenset(Feature) - {Feature.FILE_URLS, Feature.FILE_IDS}

__all__ = [
    "EXPRESSES", "WIRE", "completion", "passed_request", "read_answer", "read_error", "reader", "text_of",
    "translated_request",
]  # fmt: skip
