"""OpenAI Responses, as clients speak it."""

from tollgate.gateway.model import Wire
from tollgate.gateway.protocols.openai_responses.decoding import decode
from tollgate.gateway.protocols.openai_responses.meaning import NAMES, conversation
from tollgate.gateway.protocols.openai_responses.passing import passage, passed_answer
from tollgate.gateway.protocols.openai_responses.rendering import rendered_answer, rendering

WIRE = Wire.RESPONSES

__all__ = ["NAMES", "WIRE", "conversation", "decode", "passage", "passed_answer", "rendered_answer", "rendering"]
