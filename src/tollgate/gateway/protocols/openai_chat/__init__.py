"""OpenAI Chat Completions, as clients speak it."""

from tollgate.gateway.model import Wire
from tollgate.gateway.protocols.openai_chat.decoding import decode, last_words
from tollgate.gateway.protocols.openai_chat.meaning import NAMES, conversation
from tollgate.gateway.protocols.openai_chat.passing import passage, passed_answer
from tollgate.gateway.protocols.openai_chat.rendering import rendered_answer, rendering

WIRE = Wire.CHAT

__all__ = [
    "NAMES", "WIRE", "conversation", "decode", "last_words", "passage", "passed_answer", "rendered_answer", "rendering",
]  # fmt: skip
