"""Proofs of reasoning that are not Anthropic's, on their way through its format and back: marked with their origin."""

from tollgate.gateway.model import Wire

_MARK = "tollgate:"


def marked(signature: str, origin: str | None) -> str:
    """The signature as it goes to the client."""
    return signature if origin == Wire.MESSAGES else f"{_MARK}{origin or ''}:{signature}"


def read(text: str) -> tuple[str, str | None]:
    """A signature that came back from the client, and the wire format whose providers made it."""
    origin, colon, signature = text.removeprefix(_MARK).partition(":")
    if not text.startswith(_MARK) or not colon:
        return text, Wire.MESSAGES.value
    return signature, origin or None
