"""Encodings: from a model's slug to the vocabulary its texts are counted in, as tiktoken's own tables tell. Pure."""

import re

O200K_BASE = "o200k_base"
"""Of OpenAI's models since GPT-4o, the open ones included; and the nearest we have for models of other houses."""
CL100K_BASE = "cl100k_base"

_CL100K_NAME = re.compile(r"(?:ft:)?(?:gpt-4(?:-.+)?|gpt-3\.?5.*|text-embedding-(?:ada|3)-.+|(?:davinci|babbage)-002)")


def encoding_of(slug: str) -> str:
    """The encoding of a model: the one OpenAI publishes for a name of theirs, whoever serves it, else the newest."""
    name = slug.rpartition("/")[2]
    return CL100K_BASE if _CL100K_NAME.fullmatch(name) else O200K_BASE
