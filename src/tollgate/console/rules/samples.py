"""Sample code: a program in each of five languages that calls a model of this installation, ready to be copied.

Whatever is put into a program is written as a literal of its language, so that it can be nothing but a text there.
"""

import json
from dataclasses import dataclass

from tollgate.console.model import Sample
from tollgate.reports.model import Listing

KEY = "sk-tg-…"
"""Stands for the reader's own key."""
_QUESTION = "What is the meaning of life?"


@dataclass(frozen=True, slots=True)
class _Operation:
    """What a model is asked, in the words of each language."""

    path: str
    method: str
    """Of OpenAI's clients."""
    field: str
    """What the question is called."""
    read_dotted: str
    """Where the answer is in a client's object, and in JSON as TypeScript reads it."""
    read_keyed: str
    """Where it is in Python's dictionaries."""


_CHAT = _Operation(
    path="/chat/completions",
    method="chat.completions.create",
    field="messages",
    read_dotted="choices[0].message.content",
    read_keyed='["choices"][0]["message"]["content"]',
)
_EMBEDDINGS = _Operation(
    path="/embeddings",
    method="embeddings.create",
    field="input",
    read_dotted="data[0].embedding",
    read_keyed='["data"][0]["embedding"]',
)


def samples(listing: Listing, *, base_url: str) -> tuple[Sample, ...]:
    """The tabs, in order."""
    model = listing.model.slug
    operation = _EMBEDDINGS if "embedding" in listing.model.output_modalities else _CHAT
    return (
        Sample("openai-python", "OpenAI-Python", _openai_python(operation, model, base_url)),
        Sample("python", "Python", _python(operation, model, base_url)),
        Sample("typescript", "TypeScript", _typescript(operation, model, base_url)),
        Sample("openai-typescript", "OpenAI-TypeScript", _openai_typescript(operation, model, base_url)),
        Sample("curl", "cURL", _curl(operation, model, base_url)),
    )


def python_text(text: str) -> str:
    """The text as a literal of Python, in double quotes wherever that is possible."""
    return _in_double_quotes(text) or repr(text)


def typescript_text(text: str) -> str:
    """The text as a literal of TypeScript."""
    return _in_double_quotes(text) or json.dumps(text)


def shell_text(text: str) -> str:
    """The text as one word of a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _in_double_quotes(text: str) -> str | None:
    plain = text.isprintable() and not set(text) & {'"', "\\"}
    return f'"{text}"' if plain else None


def _asked(operation: _Operation, *, literal: str, role: str, content: str) -> str:
    """What the field of the question holds, in Python or TypeScript."""
    return f'[{{{role}: "user", {content}: {literal}}}]' if operation is _CHAT else literal


def _openai_python(operation: _Operation, model: str, base_url: str) -> str:
    asked = _asked(operation, literal=python_text(_QUESTION), role='"role"', content='"content"')
    return f"""\
from openai import OpenAI

client = OpenAI(
    base_url={python_text(base_url)},
    api_key={python_text(KEY)},
)

answer = client.{operation.method}(
    model={python_text(model)},
    {operation.field}={asked},
)
print(answer.{operation.read_dotted})
"""


def _python(operation: _Operation, model: str, base_url: str) -> str:
    asked = _asked(operation, literal=python_text(_QUESTION), role='"role"', content='"content"')
    return f"""\
import requests

answer = requests.post(
    {python_text(base_url + operation.path)},
    headers={{"Authorization": {python_text(f"Bearer {KEY}")}}},
    json={{
        "model": {python_text(model)},
        "{operation.field}": {asked},
    }},
    timeout=60,
)
answer.raise_for_status()
print(answer.json(){operation.read_keyed})
"""


def _typescript(operation: _Operation, model: str, base_url: str) -> str:
    asked = _asked(operation, literal=typescript_text(_QUESTION), role="role", content="content")
    return f"""\
const response = await fetch({typescript_text(base_url + operation.path)}, {{
  method: "POST",
  headers: {{
    Authorization: {typescript_text(f"Bearer {KEY}")},
    "Content-Type": "application/json",
  }},
  body: JSON.stringify({{
    model: {typescript_text(model)},
    {operation.field}: {asked},
  }}),
}});
if (!response.ok) throw new Error(await response.text());
const answer = await response.json();
console.log(answer.{operation.read_dotted});
"""


def _openai_typescript(operation: _Operation, model: str, base_url: str) -> str:
    asked = _asked(operation, literal=typescript_text(_QUESTION), role="role", content="content")
    return f"""\
import OpenAI from "openai";

const client = new OpenAI({{
  baseURL: {typescript_text(base_url)},
  apiKey: {typescript_text(KEY)},
}});

const answer = await client.{operation.method}({{
  model: {typescript_text(model)},
  {operation.field}: {asked},
}});
console.log(answer.{operation.read_dotted});
"""


def _curl(operation: _Operation, model: str, base_url: str) -> str:
    question: object = [{"role": "user", "content": _QUESTION}] if operation is _CHAT else _QUESTION
    body = (
        "{\n"
        f'    "model": {json.dumps(model)},\n'
        f'    "{operation.field}": {json.dumps(question)}\n'
        "  }"
    )  # fmt: skip
    return f"""\
curl {shell_text(base_url + operation.path)} \\
  -H {shell_text(f"Authorization: Bearer {KEY}")} \\
  -H 'Content-Type: application/json' \\
  -d {shell_text(body)}
"""
