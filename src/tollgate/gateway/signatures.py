"""Signatures of reasoning on their way through a client format that did not make them: marked with their origin.

A client sends back what it was given. The mark tells whose signature it was, so that nobody else is shown it.
"""

FOREIGN_THOUGHT = "rs_tollgate"
"""How the ids of thoughts begin that Responses clients get from other formats."""

_MARK = "tollgate:"


def carried(signature: str, origin: str | None, *, within: str) -> str:
    """The signature as clients of the format `within` get it: its own as they are, others marked."""
    return signature if origin == within else f"{_MARK}{origin or ''}:{signature}"


def uncarried(text: str, *, within: str) -> tuple[str, str | None]:
    """The signature a client of the format `within` sent back, and the format it comes from."""
    origin, colon, signature = text.removeprefix(_MARK).partition(":")
    if not is_marked(text) or not colon:
        return text, within
    return signature, origin or None


def may_be_in(encoded: bytes) -> bool:
    """Whether this JSON may have another format's thoughts in it: most requests need not be looked into."""
    return b"tollgate" in encoded


def is_marked(text: str) -> bool:
    """Whether this is another format's signature."""
    return text.startswith(_MARK)
