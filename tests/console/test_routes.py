"""The console as it is served: what a browser asks for, and what it is told about keeping and running it."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.console.reading import Page
from tests.console.showcase import LISTINGS, ShownCatalogue
from tests.control_plane import ControlPlane, shared_control_plane

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SEED = "/models/openai/gpt-4.1-mini"


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "console") as opened:
        opened.app.state.public_catalogue = ShownCatalogue(LISTINGS)
        yield opened


async def get(plane: ControlPlane, path: str, **headers: str) -> httpx.Response:
    return await plane.client.get(path, headers=BROWSER | headers)


def models(answer: httpx.Response) -> list[str]:
    """The models listed on a page, in its order."""
    assert answer.status_code == 200, answer.text
    page = Page(answer.text)
    return [found for link in page.elements("a") for found in re.findall(r"^/models/(.+)", link["href"])]


class TestTheCatalogue:
    @pytest.mark.parametrize(
        ("question", "found"),
        [
            ("q=ECHO", ["sandbox/echo"]),
            ("q=%20gpt-4.1%20", ["openai/gpt-4.1-mini"]),
            ("q=nothing+like+it", []),
            ("provider=azure", ["openai/gpt-4.1-mini"]),
            ("modality=audio", ["northwind/aurora-2"]),
            ("parameter=tools&modality=image", ["northwind/aurora-2", "openai/gpt-4.1-mini"]),
            ("parameter=tools&provider=sandbox&q=", ["sandbox/echo"]),
            ("q=quiet&sort=name", ["quiet/empty", "quiet/hostile", "quiet/unpriced"]),
            ("q=&provider=&modality=image&parameter=&sort=newest", ["northwind/aurora-2", "openai/gpt-4.1-mini"]),
            ("modality=image&sort=price", ["openai/gpt-4.1-mini", "northwind/aurora-2"]),
            ("parameter=tools&sort=context",
             ["northwind/aurora-2", "openai/gpt-4.1-mini", "quiet/hostile", "sandbox/echo"]),
        ],
    )  # fmt: skip
    async def test_is_searched_filtered_and_sorted_by_its_address(
        self, plane: ControlPlane, question: str, found: list[str]
    ) -> None:
        assert models(await get(plane, f"/models?{question}")) == found

    async def test_shows_the_form_as_it_was_sent(self, plane: ControlPlane) -> None:
        page = Page((await get(plane, "/models?q=mini&provider=azure&sort=price")).text)

        assert (page.elements("input")[0]["value"], page.chosen("provider"), page.chosen("sort")) == (
            "mini", "azure", "price",
        )  # fmt: skip

    async def test_shows_each_model_with_its_figures(self, plane: ControlPlane) -> None:
        text = Page((await get(plane, "/models?q=gpt")).text).text

        for value in ("GPT-4.1 Mini", "by openai", "1.05M", "$0.4 /M tokens", "$1.6 /M tokens", "41.61B", "1 model"):
            assert value in text

    @pytest.mark.parametrize("question", ["sort=colour", "page=0", "page=x", "q=a&q=b", "q=%00"])
    async def test_refuses_what_it_does_not_understand(self, plane: ControlPlane, question: str) -> None:
        answer = await get(plane, f"/models?{question}")

        assert answer.status_code == 400
        assert "This cannot be shown" in Page(answer.text).text

    async def test_minds_nothing_that_links_gather_on_their_way(self, plane: ControlPlane) -> None:
        assert models(await get(plane, "/models?q=mini&utm_source=x&fbclid=y")) == models(
            await get(plane, "/models?q=mini")
        )
        assert (await get(plane, f"{SEED}?utm_source=x")).status_code == 200

    async def test_is_where_the_front_door_leads(self, plane: ControlPlane) -> None:
        answer = await get(plane, "/")

        assert (answer.status_code, answer.headers["location"]) == (302, "/models")


class TestAPage:
    async def test_calls_the_installation_where_it_was_asked_for(self, plane: ControlPlane) -> None:
        assert "http://tollgate.test/api/v1" in Page((await get(plane, SEED)).text).texts_by_id["code-curl"]

    async def test_of_an_alias_is_its_models(self, plane: ControlPlane) -> None:
        answer = await get(plane, "/models/northwind/aurora?from=afar")

        assert (answer.status_code, answer.headers["location"]) == (301, "/models/northwind/aurora-2?from=afar")

    @pytest.mark.parametrize("host", ["evil.test/'; rm -rf ~ #", "[evil.test", "evil.test@x", "<evil.test>"])
    async def test_repeats_no_host_that_is_none(self, plane: ControlPlane, host: str) -> None:
        answer = await get(plane, SEED, host=host)

        assert answer.status_code in {200, 400}
        assert "evil" not in answer.text
        assert answer.status_code == 400 or "http://localhost:8000/api/v1" in Page(answer.text).texts_by_id["code-curl"]

    async def test_may_run_and_load_nothing_but_its_own(self, plane: ControlPlane) -> None:
        for path in ("/models", SEED, "/models/no/model", "/nowhere"):
            headers = (await get(plane, path)).headers
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
            assert "unsafe" not in policy
            assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
            assert headers["content-type"] == "text/html; charset=utf-8"

    async def test_is_not_sent_again_while_it_is_the_same(self, plane: ControlPlane) -> None:
        first = await get(plane, SEED)
        again = await get(plane, SEED, **{"If-None-Match": first.headers["etag"]})
        other = await get(plane, "/models", **{"If-None-Match": first.headers["etag"]})

        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert first.headers["cache-control"] == "no-cache"
        assert other.status_code == 200

    @pytest.mark.parametrize("path", ["/models", SEED])
    async def test_can_be_asked_for_its_headers_alone(self, plane: ControlPlane, path: str) -> None:
        whole, head = await get(plane, path), await plane.client.head(path)

        assert (head.status_code, head.content) == (200, b"")
        for name in ("etag", "content-type", "content-length", "cache-control"):
            assert head.headers[name] == whole.headers[name]

    async def test_loads_files_that_may_be_kept_for_good(self, plane: ControlPlane) -> None:
        page = Page((await get(plane, SEED)).text)
        loaded = [each["href"] for each in page.elements("link")] + [each["src"] for each in page.elements("script")]

        assert len(loaded) == 3
        for path in loaded:
            answer = await get(plane, path)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["content-type"].partition(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}

    async def test_of_another_version_loads_what_there_is_but_does_not_keep_it(self, plane: ControlPlane) -> None:
        older = await get(plane, "/assets/page.000000000000.css")

        assert (older.status_code, older.headers["cache-control"]) == (200, "no-cache")
        for path in ("/assets/page.css", "/assets/page.000000000000.py", "/assets/other.000000000000.css"):
            assert (await get(plane, path)).status_code == 404


class TestWhatIsNotThere:
    async def test_is_told_on_a_page_with_a_search(self, plane: ControlPlane) -> None:
        answer = await get(plane, "/models/no/such-model")
        page = Page(answer.text)

        assert answer.status_code == 404
        assert "There is no model 'no/such-model'." in page.text
        assert page.elements("input")[0]["value"] == "such-model"
        assert page.elements("form")[0]["action"] == "/models"

    async def test_is_told_to_browsers_wherever_they_look(self, plane: ControlPlane) -> None:
        answer = await get(plane, "/nowhere/<b>")

        assert answer.status_code == 404
        assert "There is no route GET /nowhere/<b>." in Page(answer.text).text

    async def test_is_told_to_programs_as_ever(self, plane: ControlPlane) -> None:
        for path, headers in (("/nowhere", {}), ("/models/no/model", {}), ("/api/v1/nowhere", BROWSER)):
            answer = await plane.client.get(path, headers=headers)
            assert answer.json()["error"]["code"] == 404

    async def test_refuses_a_method_on_a_page(self, plane: ControlPlane) -> None:
        answer = await plane.client.post("/models", headers=BROWSER)

        assert answer.status_code == 405
        assert "This cannot be done here" in Page(answer.text).text
