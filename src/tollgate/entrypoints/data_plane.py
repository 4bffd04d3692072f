"""The data plane's own way in: calls go to their handlers at once, and everything else to the framework's application.

What the framework does for a route (finding it, its middleware, its own state of a request) is of no use to a call, and
takes as long as admitting it. The routes stand in the framework's application too, which answers other methods there.
"""

from collections.abc import Awaitable
from typing import Any

from litestar import Litestar, Request
from litestar.types import Message, Receive, Scope, Send

from tollgate.entrypoints import errors
from tollgate.gateway.routes import Serve

_POST = "POST"


class DataPlane:
    """The application: calls by these paths, in front of the framework's."""

    def __init__(self, application: Litestar, calls: dict[str, Serve]) -> None:
        self._application = application
        self._calls = calls

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request, or live for as long as the worker does."""
        serve = self._calls.get(scope["path"]) if scope["type"] == "http" and scope["method"] == _POST else None
        if serve is None:
            await self._application(scope, receive, send)
            return
        sending = _Sending(send)
        scope["litestar_app"] = self._application
        try:
            await serve(scope, receive, sending)
        except Exception as error:
            if sending.has_begun:
                raise
            await self._refuse(scope, error, receive, send)

    async def _refuse(self, scope: Scope, error: Exception, receive: Receive, send: Send) -> None:
        """Answer an error as the framework would have it answered."""
        request: Request[Any, Any, Any] = Request(scope, receive, send)
        response = errors.answer_any(request, error).to_asgi_response(app=None, request=request)
        await response(scope, receive, send)


class _Sending:
    """ASGI's `send`, which knows whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    def __call__(self, message: Message) -> Awaitable[None]:
        self.has_begun = True
        return self._send(message)
