"""Whatever is wrong with a request is told in the one shape of errors, key before body, and leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.conftest import copied
from tests.stories.serving import Keys, Served, serving

HELLO = b'{"model": "sandbox/echo", "messages": [{"role": "user", "content": "Hello"}]}'
NO_KEY = "sk-tg-000000000000-" + "0" * 49
OVERSIZED = b" " * (33 * 1024 * 1024)


@pytest.fixture(scope="module")
def served(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(copied(migrated, tmp_path_factory.mktemp("input"))) as group:
        yield group


@pytest.fixture(scope="module")
def keys(served: Served) -> Keys:
    assert served.keys is not None
    return served.keys


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """The status and type of an error, whose body must have the shape they all have."""
    body = answer.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "type", "message", "metadata"}
    assert body["error"]["code"] == answer.status_code
    assert body["error"]["message"]
    return answer.status_code, body["error"]["type"]


@pytest.mark.parametrize("path", ["/chat/completions", "/keys", "/admin/prices"])
@pytest.mark.parametrize("body", [b"{nonsense", b'{"name": 3}', b""])
def test_a_stranger_is_told_of_the_key_whatever_the_body(served: Served, path: str, body: bytes) -> None:
    assert refusal(served.call("POST", path, key=NO_KEY, content=body)) == (401, "authentication")


@pytest.mark.parametrize(
    ("path", "kind"), [("/chat/completions", "management"), ("/keys", "inference"), ("/admin/prices", "management")]
)
def test_a_key_of_the_wrong_kind_is_told_which_is_needed(served: Served, keys: Keys, path: str, kind: str) -> None:
    answer = served.call("POST", path, key=getattr(keys, kind), content=b"{nonsense")

    assert refusal(answer) == (403, "permission")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{nonsense", (400, "invalid_request")),
        (b'{"model": "sandbox/echo"}', (400, "invalid_request")),
        (HELLO.replace(b"sandbox/echo", b"nobody/nothing"), (404, "model_not_found")),
        (HELLO.replace(b"sandbox/echo", b"openai/gpt-4.1-mini"), (404, "no_endpoint")),
        (OVERSIZED, (413, "payload_too_large")),
    ],
    ids=["malformed", "no messages", "unknown model", "missing credential", "oversized"],
)
def test_a_bad_call_leaves_nothing(served: Served, keys: Keys, body: bytes, expected: tuple[int, str]) -> None:
    before = served.get("/credits", key=keys.management)

    answer = served.call("POST", "/chat/completions", key=keys.inference, content=body)

    assert refusal(answer) == expected
    assert served.get("/credits", key=keys.management) == before
    assert served.get("/calls", key=keys.management)["data"] == []


def test_who_has_no_balance_is_refused_before_anything_is_sent(served: Served, keys: Keys) -> None:
    organization = served.post("/admin/organizations", {"name": "Broke"}, key=keys.operator)["data"]["id"]
    path = f"/admin/organizations/{organization}/keys"
    inference, management = (
        served.post(path, {"kind": kind, "name": kind}, key=keys.operator)["key"]
        for kind in ("inference", "management")
    )

    answer = served.call("POST", "/chat/completions", key=inference, content=HELLO)

    assert refusal(answer) == (402, "insufficient_credit")
    assert served.get("/calls", key=management)["data"] == []


def test_a_key_that_was_revoked_is_refused_at_its_next_call(served: Served, keys: Keys) -> None:
    minted = served.post("/keys", {"name": "short-lived"}, key=keys.management)
    assert served.call("GET", "/key", key=minted["key"]).status_code == 200

    served.call("DELETE", f"/keys/{minted['data']['id']}", key=keys.management)

    assert refusal(served.call("POST", "/chat/completions", key=minted["key"], content=HELLO))[0] == 401
