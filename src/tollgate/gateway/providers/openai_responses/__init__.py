"""OpenAI Responses, as providers speak it: OpenAI, Azure OpenAI, and servers compatible with it."""

from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import Feature
from tollgate.gateway.providers.openai_responses.answers import read_answer, reader, text_of
from tollgate.gateway.providers.openai_responses.meaning import completion
from tollgate.gateway.providers.openai_responses.requests import passed_request, translated_request
from tollgate.gateway.wire import read_error

WIRE = Wire.RESPONSES
EXPRESSES = frozenset(Feature) - {
    Feature.AUDIO,
    Feature.CHOICES,
    Feature.FREQUENCY_PENALTY,
    Feature.LOGIT_BIAS,
    Feature.PRESENCE_PENALTY,
    Feature.SEED,
    Feature.STOP,
    Feature.TOP_K,
}

__all__ = [
    "EXPRESSES", "WIRE", "completion", "passed_request", "read_answer", "read_error", "reader", "text_of",
    "translated_request",
]  # fmt: skip
