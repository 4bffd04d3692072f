"""Gemini's generateContent, as Google speaks it. No client of ours does: every call is translated."""

from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import Feature
from tollgate.gateway.providers.gemini.answers import read_answer, read_error, reader, text_of
from tollgate.gateway.providers.gemini.meaning import completion
from tollgate.gateway.providers.gemini.requests import translated_request

WIRE = Wire.GENERATE_CONTENT
EXPRESSES = frozenset(Feature) - {
    Feature.LOGIT_BIAS, Feature.PARALLEL_TOOL_CALLS, Feature.VERBOSITY, Feature.FILE_IDS,
}  # fmt: skip
"""Links to images and files are fetched by Google: https://ai.google.dev/gemini-api/docs/file-input-methods."""

__all__ = ["EXPRESSES", "WIRE", "completion", "read_answer", "read_error", "reader", "text_of", "translated_request"]
