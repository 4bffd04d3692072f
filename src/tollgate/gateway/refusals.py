"""Refusals: what a provider answers instead of an answer, in one piece whatever was asked, read and understood."""

from tollgate.gateway import fallback
from tollgate.gateway.crossing import Speech
from tollgate.gateway.model import NO_ANSWER, Answer, Reply
from tollgate.kit.errors import ProviderFailed, TollgateError


async def refused(reply: Reply, speech: Speech) -> tuple[Answer, TollgateError]:
    """What a refusal says it used, which is its provider's cost, and why it is one; it never streams."""
    try:
        body = await reply.body()
    except ProviderFailed:
        body = b""
    error = fallback.refusal(reply.status, reply.headers, speech.read_error(body))
    return speech.read_answer(body) or NO_ANSWER, error
