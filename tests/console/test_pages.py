"""Pages are functions of what is known: the figures of the seed are on its page, and whatever is put in stays text."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.console.reading import Page
from tests.console.showcase import (
    ECHO,
    EMPTY,
    HOSTILE,
    HOSTILE_LISTING,
    LISTINGS,
    PARAMETERS,
    SEED,
    TIERED,
    UNPRICED,
    busy_days,
)

from tollgate.console import pages
from tollgate.console.model import CatalogueQuestion, FailurePage
from tollgate.console.rules.catalogue_page import catalogue_page
from tollgate.console.rules.model_page import model_page
from tollgate.reports.model import DayOfTokens, Listing

NOW = datetime(2025, 10, 10, tzinfo=UTC)
TODAY = NOW.date()
BASE_URL = "https://gateway.example.com/api/v1"
DASH = "–"  # noqa: RUF001 - the page's own


def shown(listing: Listing, *, used: bool = True, now: datetime = NOW) -> Page:
    days = busy_days(TODAY, count=30)
    told = days if used else [DayOfTokens(day.day, 0, 0) for day in days]
    return Page(pages.model(model_page(listing, told, base_url=BASE_URL, now=now)))


def card(page: Page, number: int) -> str:
    """The text of one provider's card."""
    _, _, cards = page.text.partition("Latency and throughput of the last hour")
    return cards.partition("Sample code")[0].split("serves it as")[number]


class TestTheSeedsPage:
    """All that is on the page of openai/gpt-4.1-mini that this project began with."""

    def test_says_which_model_it_is(self) -> None:
        text = shown(SEED).text

        for value in ("GPT-4.1 Mini", "openai/gpt-4.1-mini", "Author openai", "Created Apr 14, 2025"):
            assert value in text
        assert "Input types text, image" in text
        assert "Output types text" in text
        assert SEED.model.description in text

    def test_draws_and_tells_the_tokens_of_thirty_days(self) -> None:
        page = shown(SEED)

        assert "Tokens processed per day" in page.text
        assert "Oct 10, 2025: 2.66B tokens" in page.text
        assert page.text.count("Sep 11, 2025") >= 2  # in the picture, and in the table

    def test_has_the_spreads_of_each_provider(self) -> None:
        text = shown(SEED).text

        for row in (
            "OpenAI 8.52 81.41 21.22", "Azure 5.89 103.03 29.66", "OpenAI 584 1158 718.90", "Azure 1154 2052 1342.69",
        ):  # fmt: skip
            assert row in text
        assert "Throughput (tokens/s)" in text
        assert "First-token latency (ms)" in text

    def test_has_the_first_card(self) -> None:
        azure = card(shown(SEED), 1)

        assert "Latency 1.17 s Throughput 53.2 tps Uptime 100.00 %" in azure
        assert f"Oct 10, 2025 {DASH} 3 PM 100.00 %" in azure
        assert "Prompt training false Prompt logging Zero retention Moderation Responsibility of developer" in azure

    def test_has_the_second_card_without_recent_samples(self) -> None:
        openai = card(shown(SEED), 2)

        assert "Latency - Throughput - Uptime 98.86 %" in openai
        assert "Prompt logging 30 day retention" in openai
        assert f"Oct 10, 2025 {DASH} 11 AM 74.00 %" in openai
        assert f"Oct 10, 2025 {DASH} 2 PM -" in openai

    @pytest.mark.parametrize("number", [1, 2])
    def test_has_prices_limits_parameters_and_protocols_on_each_card(self, number: int) -> None:
        text = card(shown(SEED), number)

        assert "Input $0.4 /M tokens Output $1.6 /M tokens Cache read $0.1 /M tokens" in text
        assert "Cache write 5m - Cache write 1h - Cache write - Web search -" in text
        assert "Context 1.05M Max output 32.77K" in text
        assert "Supported parameters " + " ".join(PARAMETERS) in text
        assert "Protocol compatibility openai anthropic" in text

    def test_has_the_exact_limits_and_the_status_pages(self) -> None:
        page = shown(SEED)

        assert {"1047576", "32768"} <= set(page.attributes("value"))
        links = {link["href"]: link.get("rel") for link in page.elements("a")}
        assert links["https://status.openai.com"] == links["https://azure.status.microsoft"] == "noreferrer"

    def test_has_sample_code_in_five_languages_for_this_installation(self) -> None:
        page = shown(SEED)

        assert "OpenAI-Python Python TypeScript OpenAI-TypeScript cURL" in page.text
        for name in ("openai-python", "python", "typescript", "openai-typescript", "curl"):
            code = page.texts_by_id[f"code-{name}"]
            assert BASE_URL in code
            assert "openai/gpt-4.1-mini" in code


class TestEveryPage:
    @pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.model.slug)
    @pytest.mark.parametrize("used", [True, False])
    def test_of_a_model_is_well_formed(self, listing: Listing, used: bool) -> None:  # noqa: FBT001 - pytest's way
        page = shown(listing, used=used)

        assert page.text.count("Not used yet") == (not used)
        assert page.elements("html")[0]["lang"] == "en"

    @pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.model.slug)
    def test_loads_nothing_from_elsewhere(self, listing: Listing) -> None:
        page = shown(listing)

        for loaded in (*page.elements("link"), *page.elements("script"), *page.elements("img")):
            assert (loaded.get("href") or loaded.get("src", "")).startswith("/assets/")

    def test_shows_whatever_people_wrote_as_they_wrote_it(self) -> None:
        page = shown(HOSTILE_LISTING)

        assert page.text.count(HOSTILE) > 8
        assert all(not link["href"].startswith("javascript") for link in page.elements("a"))
        assert len(page.elements("script")) == 1
        assert page.elements("img") == []

    def test_of_the_catalogue_shows_it_so_as_well(self) -> None:
        asked = CatalogueQuestion(text="<", provider=HOSTILE, modality=HOSTILE, parameter=HOSTILE)
        found = Page(pages.catalogue(catalogue_page(LISTINGS, LISTINGS, CatalogueQuestion(), {})))
        narrowed = Page(pages.catalogue(catalogue_page(LISTINGS, LISTINGS, asked, {})))

        assert HOSTILE in found.text
        assert narrowed.chosen("provider") == narrowed.chosen("parameter") == HOSTILE
        assert narrowed.elements("img") == []

    def test_of_a_failure_does_too(self) -> None:
        page = Page(pages.failure(FailurePage(404, HOSTILE, HOSTILE, HOSTILE)))

        assert page.text.count(HOSTILE) == 3
        assert page.elements("input")[0]["value"] == HOSTILE


class TestWhatIsNotThere:
    def test_no_provider_is_said_to_be_none(self) -> None:
        text = shown(EMPTY, used=False).text

        assert "Nobody offers this model here yet" in text
        assert "Performance" not in text

    def test_no_price_is_not_the_same_as_nothing_offered(self) -> None:
        text = shown(UNPRICED).text

        assert "Not priced: calls are refused until a price is in force." in text
        assert "This model cannot be called here" in text
        assert "Context - Max output -" in text
        assert "None are listed." in text

    def test_no_samples_are_never_zero(self) -> None:
        echo = card(shown(ECHO), 1)

        assert "Latency - Throughput - Uptime -" in echo
        assert "Nothing is known of the last hours yet." in echo
        assert "Sandbox - - -" in shown(ECHO).text

    def test_what_a_model_reads_and_writes_is_told_as_far_as_it_is_known(self) -> None:
        unknown = replace(ECHO, model=replace(ECHO.model, input_modalities=(), output_modalities=("text",)))

        assert "Input types - Output types text" in shown(unknown).text
        assert (
            "- → in, text out"
            in Page(pages.catalogue(catalogue_page([unknown], [unknown], CatalogueQuestion(), {}))).text
        )

    def test_what_is_free_is_said_to_be_free(self) -> None:
        text = card(shown(TIERED), 1)

        assert "Cache read Free" in text
        assert "Input prompts below 200K $1.25 /M tokens prompts of 200K and more $2.5 /M tokens" in text
        assert "Web search $0.01 /search Audio input $3 /M tokens" in text
        assert "Prompt training not known" in text


class TestAModelThatEnds:
    @pytest.mark.parametrize(
        ("facts", "told"),
        [
            ({}, None),
            ({"deprecated_at": NOW}, "Deprecated since Oct 10, 2025. It serves as before"),
            ({"deprecated_at": NOW + timedelta(days=1)}, "Deprecated from Oct 11, 2025. It serves as before"),
            ({"deprecated_at": NOW, "retires_at": NOW + timedelta(days=1)},
             "Retires on Oct 11, 2025. From then on it serves no more, and nothing replaces it."),
            ({"retires_at": NOW, "replaced_by": "northwind/aurora-2"},
             "d on Oct 10, 2025. It serves no more, and what replaces it serves in its place. See northwind/aurora-2."),
        ],
    )  # fmt: skip
    def test_says_so_before_anything_else(self, facts: dict[str, Any], told: str | None) -> None:
        page = shown(replace(SEED, model=replace(SEED.model, **facts)))

        assert len(page.elements("aside")) == (told is not None)
        assert told is None or told in page.text
        links = [link["href"] for link in page.elements("a")]
        assert ("/models/northwind/aurora-2" in links) == ("replaced_by" in facts)

    def test_has_its_other_names_beside_it(self) -> None:
        assert "Aliases" not in shown(SEED).text
        assert "Aliases openai/mini, openai/small" in shown(replace(SEED, aliases=("openai/mini", "openai/small"))).text


def test_the_catalogue_goes_on_over_pages() -> None:
    many = [Listing(EMPTY.model.__class__(f"many/m{n:03}", f"M{n}", "", ("text",), ("text",), "o200k_base",
                                          datetime(2026, 1, 1, tzinfo=UTC)), ()) for n in range(100)]  # fmt: skip

    first, last, beyond = (
        catalogue_page(many, many, CatalogueQuestion(text="many", page=number), {}) for number in (1, 3, 4)
    )
    assert (first.summary, first.previous, first.next) == ("1 to 48 of 100 models", None, "?q=many&sort=name&page=2")
    assert (last.summary, last.previous, last.next) == ("97 to 100 of 100 models", "?q=many&sort=name&page=2", None)
    assert (beyond.summary, beyond.rows, beyond.next) == ("Nothing more of 100 models", (), None)
    assert 'rel="next" href="/models?q=many&amp;sort=name&amp;page=2"' in pages.catalogue(first)
