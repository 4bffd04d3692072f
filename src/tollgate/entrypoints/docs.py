"""Docs: the interface described on a page rendered from the OpenAPI document; nothing is loaded from elsewhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from litestar import MediaType, Request, get
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    ExternalDocumentation,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    PathItem,
    Reference,
    RequestBody,
)
from litestar.plugins import ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute

from tollgate.kit.principal import KeyKind

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
article { padding: .6rem 0; border-bottom: 1px solid var(--soft); overflow-wrap: anywhere; }
code { font: 14px ui-monospace, monospace; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
.more { margin: .2rem 0 0 4.5rem; }
"""
_REFERENCE = "https://platform.openai.com/docs/api-reference"
_INFERENCE = (
    ("/api/v1/chat/completions", "OpenAI Chat Completions, streamed and not", f"{_REFERENCE}/chat"),
    ("/api/v1/responses", "OpenAI Responses, streamed and not", f"{_REFERENCE}/responses"),
    ("/api/v1/embeddings", "OpenAI Embeddings", f"{_REFERENCE}/embeddings"),
    (
        "/api/anthropic/v1/messages",
        "Anthropic Messages, streamed and not",
        "https://platform.claude.com/docs/en/api/messages",
    ),
    (
        "/api/anthropic/v1/messages/count_tokens",
        "About how many tokens a prompt is, as counted here; nothing is charged",
        "https://platform.claude.com/docs/en/api/messages-count-tokens",
    ),
)
"""Routes of the data plane, which are plain ASGI and unknown to Litestar's own description: path, what, wire format."""


_TAKES: Mapping[KeyKind | None, str] = {
    KeyKind.INFERENCE: "Takes an inference key.",
    KeyKind.MANAGEMENT: "Takes a management key, and is about its organization alone.",
    KeyKind.OPERATOR: "Takes an operator key.",
    None: "Takes a key of any kind.",
}
_TAKES_NONE = "Takes no key."


class WhoMayAsk(ReceiveRoutePlugin):
    """Has each route's description say which key it takes, from what its handler asks for, by name."""

    def __init__(self, asking: Mapping[str, KeyKind | None]) -> None:
        self._asking = asking

    def receive_route(self, route: BaseRoute) -> None:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                asked_for = self._asking.keys() & handler.parsed_fn_signature.parameters
                takes = next((_TAKES[self._asking[name]] for name in asked_for), _TAKES_NONE)
                handler.description = handler.description or takes


class WholeInterface(JsonRenderPlugin):
    """Serves the description as JSON, the data plane's routes included; it is made when somebody asks for it first."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, _with_inference(openapi_schema))


def _with_inference(document: dict[str, Any]) -> dict[str, Any]:
    """The description with the routes of the data plane. Their bodies are described where their formats are."""
    paths = dict(document["paths"])
    for path, what, reference in _INFERENCE:
        body = RequestBody(content={"application/json": OpenAPIMediaType()})
        answers: dict[str, OpenAPIResponse | Reference] = {
            "200": OpenAPIResponse(description="The protocol's own answer, with provider and cost.")
        }
        paths[path] = PathItem(
            post=Operation(
                tags=["Inference"],
                summary=what,
                description=_TAKES[KeyKind.INFERENCE],
                external_docs=ExternalDocumentation(url=reference),
                request_body=body,
                responses=answers,
            )
        ).to_schema()
    return {**document, "paths": paths}


@get("/docs", include_in_schema=False, media_type=MediaType.HTML)
async def docs(request: Request[Any, Any, Any]) -> str:
    """Every route, by subject."""
    return _page(_with_inference(request.app.openapi_schema.to_schema()))


def _page(document: dict[str, Any]) -> str:
    subjects: dict[str, list[str]] = {"Inference": []}
    for method, path, operation in _operations(document):
        subject = operation["tags"][0]
        parameters = tuple(parameter["name"] for parameter in operation.get("parameters", ()))
        told = f"{operation['summary']}. {operation['description']}"
        subjects.setdefault(subject, []).append(_article(method, path, told, parameters))
    body = "".join(f"<h2>{escape(subject)}</h2>{''.join(articles)}" for subject, articles in subjects.items())
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Tollgate interface</title><style>{_STYLE}</style><h1>Tollgate interface</h1>"
        f"<p>{escape(document['info'].get('description') or '')}</p>"
        "<p>The whole description, for machines: <a href=/schema/openapi.json>openapi.json</a></p>"
        f"{body}"
    )


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in sorted(document.get("paths", {}).items()):
        for method in ("get", "post", "patch", "put", "delete"):
            if method in item:
                yield method.upper(), path, item[method]


def _article(method: str, path: str, what: str, parameters: tuple[str, ...]) -> str:
    asked = f"<p class=more>Parameters: <code>{escape(', '.join(parameters))}</code></p>" if parameters else ""
    return (
        f"<article><span class=method>{method}</span><code>{escape(path)}</code>"
        f"<p class=more>{escape(what)}</p>{asked}</article>"
    )


HANDLERS = (docs,)
