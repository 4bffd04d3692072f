"""OpenAI Chat Completions, as clients speak it."""

from tollgate.gateway.model import Wire
from tollgate.gateway.protocols.openai_chat.decoding import decode, last_words
from tollgate.gateway.protocols.openai_chat.passing import passage, passed_answer

WIRE = Wire.CHAT

__all__ = ["WIRE", "decode", "last_words", "passage", "passed_answer"]
