"""Every error has one status and one body, in the two shapes clients know, and tells nothing of our insides."""

import socket
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
import sqlalchemy.exc
from litestar import Litestar, Router, get, post
from litestar.exceptions import HTTPException, NotAuthorizedException, ServiceUnavailableException
from litestar.params import FromPath, JSONBody
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tollgate.entrypoints.errors import (
    ANTHROPIC_PATH,
    EXCEPTION_HANDLERS,
    anthropic_error_body,
    error_body,
    status_of,
    status_told,
)
from tollgate.kit import errors
from tollgate.kit.errors import (
    AuthenticationFailed,
    InvalidRequest,
    LimitExceeded,
    ProviderFailed,
    RateLimited,
    TollgateError,
)


def _families(family: type[TollgateError]) -> list[type[TollgateError]]:
    return [family, *(each for child in family.__subclasses__() for each in _families(child))]


STATUSES = {
    "invalid_request": 400,
    "authentication": 401,
    "insufficient_credit": 402,
    "limit_exceeded": 402,
    "permission": 403,
    "model_not_allowed": 403,
    "not_found": 404,
    "model_not_found": 404,
    "model_not_priced": 404,
    "no_endpoint": 404,
    "conflict": 409,
    "idempotency_conflict": 409,
    "payload_too_large": 413,
    "rate_limit": 429,
    "internal": 500,
    "provider_error": 502,
    "provider_unavailable": 502,
    "overloaded": 503,
    "ledger_unavailable": 503,
    "provider_timeout": 504,
}


class TestBodies:
    @pytest.mark.parametrize("family", _families(TollgateError))
    def test_carry_the_status_their_type_promises(self, family: type[TollgateError]) -> None:
        body = error_body(family(), status_of(family()))

        assert status_of(family()) == STATUSES[family.type]
        assert body == {
            "error": {
                "code": STATUSES[family.type],
                "type": family.type,
                "message": (family.__doc__ or "").strip(),
                "metadata": {},
            }
        }

    def test_of_every_promised_type_exist(self) -> None:
        assert {family.type for family in _families(TollgateError)} == set(STATUSES)

    def test_keep_what_the_error_knows(self) -> None:
        error = LimitExceeded("Used up.", metadata={"limit": "monthly", "scope": "key"})

        assert error_body(error, 402)["error"] == {
            "code": 402,
            "type": "limit_exceeded",
            "message": "Used up.",
            "metadata": {"limit": "monthly", "scope": "key"},
        }

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (InvalidRequest("no"), "invalid_request_error"),
            (LimitExceeded("no"), "billing_error"),
            (RateLimited("no"), "rate_limit_error"),
            (errors.ModelNotAllowed("no"), "permission_error"),
            (errors.ProviderFailed("no"), "api_error"),
            (errors.ProviderTimedOut("no"), "timeout_error"),
            (errors.LedgerUnavailable("no"), "overloaded_error"),
        ],
    )
    def test_take_the_shape_of_anthropic(self, error: TollgateError, kind: str) -> None:
        error.metadata["generation_id"] = "gen_1"
        assert anthropic_error_body(error, status_of(error)) == {
            "type": "error",
            "error": {"type": kind, "message": "no"},
            "request_id": "gen_1",
        }

    def test_are_counted_when_they_are_told(self) -> None:
        error = errors.ProviderTimedOut("no")
        before = _told(error)

        assert (status_told(error), status_of(error)) == (504, 504)
        error_body(error, 504)

        assert _told(error) == before + 2


def _told(error: TollgateError) -> float:
    return REGISTRY.get_sample_value("tollgate_errors_total", {"type": error.type}) or 0


class Name(msgspec.Struct):
    name: str


RAISED: dict[str, Exception] = {
    "ours": RateLimited("Slow down.", metadata={"retry_after_seconds": 7}),
    "fast": RateLimited("No.", metadata={"limit": "tpm", "amount": 90, "available": 5, "retry_after_seconds": 7}),
    "wide": RateLimited(
        "No.", metadata={"limit": "concurrency", "amount": 9, "available": 0, "retry_after_seconds": 1}
    ),
    "keyless": AuthenticationFailed("No key."),
    "bug": KeyError("sk-tg-secret"),
    "refused": ConnectionRefusedError("10.0.0.7:5432"),
    "dropped": asyncpg.ConnectionDoesNotExistError("gone"),
    "broken": sqlalchemy.exc.OperationalError("SELECT secret", {}, Exception("gone")),
    "unnamed": socket.gaierror(-2, "Name or service not known"),
    "socketless": FileNotFoundError(2, "No such file or directory", ".s.PGSQL.5432"),
    "crowded": asyncpg.TooManyConnectionsError("sorry, too many clients already"),
    "ended": asyncpg.InterfaceError("connection is closed"),
    "charged": ProviderFailed("No.", metadata={"generation_id": "gen_1"}),
    "full": ServiceUnavailableException("full"),
    "teapot": HTTPException("I am a teapot.", status_code=418),
    "theirs": NotAuthorizedException("No."),
}


@get("/raise/{name:str}", sync_to_thread=False)
def raising(name: FromPath[str]) -> None:
    raise RAISED[name]


@post("/bodies", request_max_body_size=10)
async def bodies(data: JSONBody[Name]) -> Name:
    return data


async def _answer(method: str, path: str, **rest: Any) -> httpx.Response:
    below_anthropic = Router(ANTHROPIC_PATH, route_handlers=[raising, bodies])
    app: Any = Litestar([raising, bodies, below_anthropic], exception_handlers=EXCEPTION_HANDLERS, logging_config=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tollgate.test") as client:
        return await client.request(method, path, **rest)


class TestAnswers:
    async def test_say_how_long_to_wait(self) -> None:
        answer = await _answer("GET", "/raise/ours")

        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")

    @pytest.mark.parametrize("below", ["", ANTHROPIC_PATH])
    async def test_say_which_rate_is_used_up_and_for_how_long(self, below: str) -> None:
        answer = await _answer("GET", f"{below}/raise/fast")

        assert {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")} == {
            "x-ratelimit-limit-tokens": "90",
            "x-ratelimit-remaining-tokens": "5",
            "x-ratelimit-reset-tokens": "7s",
        }
        assert answer.headers["Retry-After"] == "7"

    async def test_say_nothing_of_rates_where_none_is_used_up(self) -> None:
        for name in ("ours", "wide", "teapot"):
            answer = await _answer("GET", f"/raise/{name}")
            assert not any(header.startswith("x-ratelimit-") for header in answer.headers), name

    async def test_say_how_to_authenticate(self) -> None:
        answer = await _answer("GET", "/raise/keyless")

        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="tollgate"')

    async def test_say_which_call_it_was(self) -> None:
        answer = await _answer("GET", "/raise/charged")

        assert (answer.status_code, answer.headers["X-Generation-Id"]) == (502, "gen_1")
        assert "X-Generation-Id" not in (await _answer("GET", "/raise/ours")).headers

    @pytest.mark.parametrize(
        ("method", "path", "status", "kind"),
        [
            ("GET", "", 404, "not_found_error"),
            ("GET", "/nowhere", 404, "not_found_error"),
            ("PUT", "/raise/ours", 405, "invalid_request_error"),
            ("POST", "/bodies", 400, "invalid_request_error"),
            ("GET", "/raise/keyless", 401, "authentication_error"),
            ("GET", "/raise/teapot", 418, "invalid_request_error"),
            ("GET", "/raise/full", 503, "overloaded_error"),
            ("GET", "/raise/bug", 500, "api_error"),
        ],
    )
    async def test_are_in_anthropics_shape_wherever_its_clients_go(
        self, method: str, path: str, status: int, kind: str
    ) -> None:
        answer = await _answer(method, ANTHROPIC_PATH + path)

        told = answer.json()
        assert (answer.status_code, told["type"], told["error"]["type"]) == (status, "error", kind)
        assert told["error"]["message"]
        assert set(told) == {"type", "error", "request_id"}

    async def test_are_in_openais_shape_where_a_path_only_begins_alike(self) -> None:
        assert (await _answer("GET", f"{ANTHROPIC_PATH}s")).json()["error"]["code"] == 404

    async def test_name_the_call_in_the_header_that_anthropics_clients_read(self) -> None:
        answer = await _answer("GET", f"{ANTHROPIC_PATH}/raise/charged")

        assert answer.json()["request_id"] == answer.headers["Request-Id"] == "gen_1"

    async def test_to_a_bug_give_nothing_away_and_the_log_learns_where_it_is(self) -> None:
        with capture_logs() as logs:
            answer = await _answer("GET", "/raise/bug")

        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "internal"
        assert "secret" not in answer.text + str(logs)
        assert logs[0]["raised"] == ["builtins.KeyError"]
        assert "in raising" in logs[0]["traceback"]

    @pytest.mark.parametrize("name", ["refused", "dropped", "broken", "unnamed", "socketless", "crowded", "ended"])
    async def test_without_a_database_ask_for_patience(self, name: str) -> None:
        with capture_logs() as logs:
            answer = await _answer("GET", f"/raise/{name}")

        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "overloaded"
        assert int(answer.headers["Retry-After"]) > 0
        assert logs[0]["event"] == "database_away"
        assert "secret" not in str(logs)

    @pytest.mark.parametrize(
        ("method", "path", "status", "kind"),
        [
            ("GET", "/nowhere", 404, "not_found"),
            ("DELETE", "/bodies", 405, "invalid_request"),
            ("GET", "/raise/full", 503, "overloaded"),
            ("GET", "/raise/teapot", 418, "invalid_request"),
            ("GET", "/raise/theirs", 401, "authentication"),
        ],
    )
    async def test_to_what_litestar_refuses_have_our_shape(
        self, method: str, path: str, status: int, kind: str
    ) -> None:
        answer = await _answer(method, path)

        assert answer.status_code == status
        assert (answer.json()["error"]["code"], answer.json()["error"]["type"]) == (status, kind)

    async def test_to_an_oversized_body_say_so(self) -> None:
        answer = await _answer("POST", "/bodies", content=b" " * 11)

        assert answer.status_code == 413
        assert answer.json()["error"]["type"] == "payload_too_large"
        assert "WWW-Authenticate" not in answer.headers
