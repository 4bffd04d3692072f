"""The console's routes, beside the interface and not below it: pages for whoever comes with a browser, no key asked."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestar import HttpMethod, Request, Response, route
from litestar.di import Provide
from litestar.params import FromPath
from litestar.response import Redirect

from tollgate.console import pages, service, shelf
from tollgate.console.kept import Kept, KeptPages, tag_of
from tollgate.console.rules.address import api_url
from tollgate.console.schemas import CatalogueParameters
from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.settings import Settings
from tollgate.infra.web import Injected
from tollgate.kit.clock import Clock
from tollgate.kit.errors import NotFound
from tollgate.reports.service.catalogue import PublicCatalogue, shared_in

AnyRequest = Request[Any, Any, Any]

_READING = [HttpMethod.GET, HttpMethod.HEAD]
_ASK_AGAIN = "no-cache"
"""Browsers may keep a page, but ask each time whether it still is the same."""
_FOR_GOOD = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Shown:
    """What pages are made of: the catalogue that the interface's requests share too, and the interface's address."""

    catalogue: PublicCatalogue
    base_url: str
    kept: KeptPages


def shown_to(request: AnyRequest, environment: Injected[Mapping[str, str]], settings: Injected[Settings]) -> Shown:
    """What whoever sent this request is shown."""
    scheme, host = str(request.scope["scheme"]), request.headers.get("host")
    base_url = api_url(public_url=settings.public_url, scheme=scheme, host=host)
    kept: KeptPages = request.app.state.setdefault("kept_pages", KeptPages())
    return Shown(shared_in(request.app.state, environment), base_url, kept)


_SHOWN = {"shown": Provide(shown_to, sync_to_thread=False)}


@route("/", http_method=_READING, include_in_schema=False)
async def front() -> Redirect:
    """To the catalogue, until there is more to choose from."""
    return Redirect("/models")


@route("/models", http_method=_READING, include_in_schema=False, dependencies=_SHOWN)
async def find_models(
    request: AnyRequest, database: Injected[Database], clock: Injected[Clock], shown: Injected[Shown]
) -> Response[bytes]:
    """The catalogue."""
    asked = web.query(request, CatalogueParameters, others_allowed=True).question()
    now = clock.now()

    async def made() -> str:
        async with database.read() as session:
            page = await service.find_models(session, shown.catalogue, asked=asked, now=now)
        return await asyncio.to_thread(pages.catalogue, page)

    return _page(request, await shown.kept.page(asked, now=now, make=made))


@route("/models/{author:str}/{name:str}", http_method=_READING, include_in_schema=False, dependencies=_SHOWN)
async def show_model(
    request: AnyRequest,
    author: FromPath[str],
    name: FromPath[str],
    database: Injected[Database],
    clock: Injected[Clock],
    shown: Injected[Shown],
) -> Response[bytes]:
    """A model's page."""
    slug, now = f"{author}/{name}", clock.now()

    async def made() -> str:
        async with database.read() as session:
            page = await service.show_model(session, shown.catalogue, slug=slug, base_url=shown.base_url, now=now)
        return await asyncio.to_thread(pages.model, page)

    return _page(request, await shown.kept.page((slug, shown.base_url), now=now, make=made))


@route("/assets/{name:str}", http_method=_READING, include_in_schema=False)
async def take_asset(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """A file that pages load."""
    asset = shelf.take(name)
    if asset is None:
        raise NotFound(f"There is no file {name[:200]!r}.")
    keeping = _FOR_GOOD if asset.name == name else _ASK_AGAIN
    return _answer(request, asset.content, tag_of(asset.content), media_type=asset.media_type, keeping=keeping)


def _page(request: AnyRequest, page: Kept) -> Response[bytes]:
    return _answer(request, page.content, page.tag, media_type=pages.MEDIA_TYPE, keeping=_ASK_AGAIN)


def _answer(request: AnyRequest, body: bytes, tag: str, *, media_type: str, keeping: str) -> Response[bytes]:
    """The body, or only its headers where it was not asked for or is known already."""
    headers = {**pages.HEADERS, "Cache-Control": keeping, "ETag": tag}
    if tag in (known.strip().removeprefix("W/") for known in request.headers.get("if-none-match", "").split(",")):
        return Response(b"", status_code=304, headers=headers, media_type=media_type)
    if request.method == HttpMethod.HEAD:
        headers |= {"Content-Type": f"{media_type}; charset=utf-8", "Content-Length": str(len(body))}
        return Response(b"", status_code=200, headers=headers, media_type=media_type)
    return Response(body, status_code=200, headers=headers, media_type=media_type)


HANDLERS = (front, find_models, show_model, take_asset)
