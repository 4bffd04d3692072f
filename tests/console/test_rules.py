"""How figures are written out: rounding, the three states of a price, places in pictures, literals of languages."""

import ast
import json
import shlex
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.console.showcase import a_model, a_spread, busy_days
from tests.pricing.builders import a_price, free, per_million, tiers

from tollgate.catalog.model import DataPolicy
from tollgate.console.model import ABSENT, PriceState
from tollgate.console.rules import charts, figures, samples
from tollgate.console.rules.address import api_url
from tollgate.console.rules.model_page import policy_rows, safe_link
from tollgate.console.rules.prices import NOT_OFFERED, price_rows, prices_of
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceItem, Unit
from tollgate.reports.model import DayOfTokens, Listing
from tollgate.statistics.model import EndpointStatistics, Tally

STEPS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
counts = st.one_of(
    st.integers(0, 10**15),
    st.builds(lambda power, off: max(0, 10**power + off), st.integers(0, 15), st.integers(-600, 600)),
)
texts = st.text(st.characters(codec="utf-8"), max_size=60)


def read_back(text: str) -> tuple[Decimal, int]:
    """A written count as its number and the step it was written in."""
    letter = text.lstrip("0123456789.,")
    return Decimal(text.removesuffix(letter).replace(",", "")), STEPS[letter]


class TestCounts:
    @pytest.mark.parametrize(
        ("number", "text"),
        [
            (0, "0"), (999, "999"), (1000, "1K"), (32_768, "32.77K"), (1_047_576, "1.05M"), (128_000, "128K"),
            (16_385, "16.39K"), (1_005, "1.01K"), (999_994, "999.99K"), (999_995, "1M"), (999_999_999, "1B"),
            (10**16, "10000T"),
        ],
    )  # fmt: skip
    def test_are_written_on_a_base_of_a_thousand(self, number: int, text: str) -> None:
        assert figures.count(number) == text

    @given(counts)
    def test_are_off_by_half_a_hundredth_of_their_step_at_most_and_rounded_up_from_there(self, number: int) -> None:
        mantissa, step = read_back(figures.count(number))

        assert mantissa == (Decimal(number) / step).quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert mantissa < 1000 or step == STEPS["T"]

    @given(counts, counts)
    def test_keep_their_order(self, one: int, other: int) -> None:
        written = [mantissa * step for mantissa, step in map(read_back, map(figures.count, sorted((one, other))))]

        assert written == sorted(written)

    @given(counts)
    def test_are_exact_where_they_must_be(self, number: int) -> None:
        mantissa, step = read_back(figures.exact_count(number))

        assert mantissa * step == number

    def test_that_are_not_known_are_absent_and_zero_is_zero(self) -> None:
        assert figures.tokens(None).text == ABSENT
        assert figures.tokens(0).text == "0"
        assert (figures.tokens(1_047_576).exact, figures.tokens(1_047_576).value) == ("1,047,576 tokens", "1047576")


class TestMeasures:
    @given(st.floats(0, 10**9), st.integers(0, 4))
    def test_are_rounded_half_up_as_they_are_written(self, value: float, decimals: int) -> None:
        text = figures.rounded(value, decimals)

        assert Decimal(text) == Decimal(str(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
        assert "e" not in text.lower()

    def test_are_those_of_the_page(self) -> None:
        assert figures.rounded(718.9, 2) == "718.90"
        assert figures.rounded(1342.685, 2) == "1342.69"
        assert figures.seconds(1170).text == "1.17 s"
        assert figures.tokens_per_second(53.2).text == "53.2 tps"
        assert {figures.rounded(None, 2), figures.seconds(None).text, figures.tokens_per_second(None).text} == {ABSENT}

    @given(st.integers(0, 10**9), st.integers(0, 10**9))
    def test_an_uptime_is_never_more_than_it_was(self, ok: int, failed: int) -> None:
        text = figures.share(Tally(ok, failed))

        if not ok + failed:
            assert text == ABSENT
        else:
            shown = Fraction(Decimal(text.removesuffix(" %")))
            assert shown <= Fraction(ok * 100, ok + failed) < shown + Fraction(1, 100)
            assert (text == "100.00 %") == (failed == 0)

    def test_an_hour_is_told_as_people_say_it(self) -> None:
        assert figures.hour(datetime(2025, 10, 10, 15, tzinfo=UTC)) == "Oct 10, 2025 – 3 PM"  # noqa: RUF001 - the page's dash
        assert figures.clock_hour(datetime(2025, 10, 10, 0, tzinfo=UTC)) == "12 AM"
        assert figures.clock_hour(datetime(2025, 10, 10, 12, tzinfo=UTC)) == "12 PM"


class TestPrices:
    def test_tell_what_is_free_from_what_is_not_offered(self) -> None:
        rows = {
            row.label: row.prices
            for row in price_rows(a_price(free(Kind.PROMPT), per_million(Kind.COMPLETION, "2.50")))
        }

        assert [price.amount for price in rows["Input"]] == ["Free"]
        assert [(price.amount, price.unit) for price in rows["Output"]] == [("$2.5", "/M tokens")]
        assert rows["Cache read"] == (NOT_OFFERED,)
        assert list(rows) == [
            "Input", "Output", "Cache read", "Cache write 5m", "Cache write 1h", "Cache write", "Web search",
        ]  # fmt: skip

    def test_of_other_kinds_are_shown_where_there_are_any(self) -> None:
        items = (
            PriceItem(Kind.WEB_SEARCH, Decimal("0.01"), Unit.PER_COUNT),
            PriceItem(Kind.AUDIO_SECONDS, Decimal("0.0006"), Unit.PER_SECOND),
            PriceItem(Kind.PROMPT, Decimal(1), Unit.PER_COUNT),
        )
        rows = {row.label: row.prices[0] for row in price_rows(a_price(*items))}

        assert (rows["Web search"].amount, rows["Web search"].unit) == ("$0.01", "/search")
        assert (rows["Audio"].amount, rows["Audio"].unit) == ("$0.0006", "/second")
        assert rows["Input"].unit == "each"

    def test_with_tiers_say_of_which_prompts_each_is(self) -> None:
        items = (
            *tiers(Kind.PROMPT, "1", "2")[1:],
            per_million(Kind.PROMPT, "0.5", 0, 32_001),
            per_million(Kind.PROMPT, "1", 32_001, 200_000),
        )

        assert [price.prompts for price in prices_of(a_price(*items), Kind.PROMPT)] == [
            "prompts below 32,001",
            "prompts of 32,001 to below 200K",
            "prompts of 200K and more",
        ]

    @given(st.decimals(0, 10**6, places=12))
    def test_are_shown_to_the_last_digit(self, amount: Decimal) -> None:
        (price,) = prices_of(a_price(PriceItem(Kind.PROMPT, amount, Unit.PER_MILLION_TOKENS)), Kind.PROMPT)

        assert price.value is not None
        assert Decimal(price.value) == amount
        assert price.state is (PriceState.PRICED if amount else PriceState.FREE)
        assert price.amount == (f"${price.value}" if amount else "Free")


class TestPolicies:
    @pytest.mark.parametrize(
        ("policy", "told"),
        [
            (DataPolicy(False, "zero", "developer"), ["false", "Zero retention", "Responsibility of developer"]),  # noqa: FBT003 - the policy's own order
            (DataPolicy(True, "30 days", "provider"), ["true", "30 day retention", "Responsibility of provider"]),  # noqa: FBT003 - as above
            (DataPolicy(None, "1 day", None), ["not known", "1 day retention", "not known"]),
            (DataPolicy(None, "until deleted", None), ["not known", "until deleted", "not known"]),
            (DataPolicy(), ["not known"] * 3),
        ],
    )
    def test_are_told_in_words(self, policy: DataPolicy, told: list[str]) -> None:
        assert [row.text for row in policy_rows(policy)] == told
        assert [row.known for row in policy_rows(policy)] == [text != "not known" for text in told]

    @pytest.mark.parametrize(
        "url",
        [None, "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "//x.test", "https:", "http://[", ""],
    )
    def test_no_status_page_leads_anywhere_but_to_a_web_page(self, url: str | None) -> None:
        assert safe_link(url) is None

    def test_a_status_page_is_linked(self) -> None:
        assert safe_link("https://status.openai.com") == "https://status.openai.com"


class TestCharts:
    @given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), min_size=1, max_size=40))
    def test_every_bar_is_inside_the_picture(self, used: list[tuple[int, int]]) -> None:
        some_day = datetime(2026, 1, 1, tzinfo=UTC).date()
        chart = charts.days_chart([DayOfTokens(some_day, *pair) for pair in used])

        for mark in chart.marks:
            left, top, width, height = (
                Decimal(side.removesuffix("%")) for side in (mark.x, mark.y, mark.width, mark.height)
            )
            assert min(left, top, width, height) >= 0
            assert left + width <= 100 + Decimal("0.01")
            assert top + height <= 100 + Decimal("0.01")
        assert len(chart.marks) == sum(1 for pair in used for part in pair if part)
        assert chart.empty == (not chart.marks)

    @given(st.integers(0, 10**15))
    def test_an_axis_ends_at_a_round_number_that_is_high_enough(self, highest: int) -> None:
        ceiling = charts.ceiling_of(highest)

        assert ceiling >= max(1, highest)
        assert ceiling <= max(1, 2 * highest)
        assert str(ceiling).strip("0") in set("1234568")

    def test_the_days_are_told_as_well_as_drawn(self) -> None:
        days = busy_days(datetime(2025, 10, 10, tzinfo=UTC).date(), count=30)
        chart = charts.days_chart(days)

        assert (chart.first_day, chart.last_day) == ("Sep 11", "Oct 10")
        assert chart.rows[0].day == "Oct 10, 2025"
        assert len(chart.rows) == 30
        assert chart.total.value == str(sum(day.prompt_tokens + day.completion_tokens for day in days))
        assert charts.small_days(days)
        assert charts.small_days([DayOfTokens(days[0].day, 0, 0)]) == charts.small_days([]) == ()

    def test_spreads_share_one_scale(self) -> None:
        rows, end = charts.spread_rows(
            [("A", a_spread(10, 50, 20)), ("B", a_spread(0, 100, 75)), ("C", None)], unit="ms", decimals=0
        )

        assert end == "100"
        drawn = [row.drawn and (row.drawn.start, row.drawn.extent, row.drawn.mean) for row in rows]
        assert drawn == [("10%", "40%", "20%"), ("0%", "100%", "75%"), None]
        assert (rows[2].least, rows[2].most, rows[2].mean) == (ABSENT, ABSENT, ABSENT)
        assert rows[0].says == "A: 10 to 50 ms, 20.00 on average"

    def test_a_spread_of_nothing_but_zeros_is_told_and_not_drawn(self) -> None:
        (row,), end = charts.spread_rows([("A", a_spread(0, 0, 0))], unit="ms", decimals=0)

        assert (row.least, row.drawn, end) == ("0", None, "0")

    def test_no_hours_make_no_strip(self) -> None:
        assert charts.uptime_strip("A", EndpointStatistics()).marks == ()


class TestSamples:
    @given(texts)
    def test_literals_mean_their_text_in_every_language(self, text: str) -> None:
        assert ast.literal_eval(samples.python_text(text)) == text
        assert json.loads(samples.typescript_text(text)) == text
        if "\0" not in text:
            assert shlex.split(samples.shell_text(text)) == [text]

    @given(texts, texts)
    def test_programs_stay_programs_whatever_is_put_into_them(self, slug: str, base_url: str) -> None:
        listing = Listing(a_model(slug, "A model"), ())
        written = {sample.id: sample.code for sample in samples.samples(listing, base_url=base_url)}

        for name in ("python", "openai-python"):
            constants = [node.value for node in ast.walk(ast.parse(written[name])) if isinstance(node, ast.Constant)]
            assert slug in constants
        words = shlex.split(written["curl"].replace("\\\n", ""))
        assert json.loads(words[words.index("-d") + 1])["model"] == slug

    def test_a_model_that_makes_vectors_is_asked_for_them(self) -> None:
        listing = Listing(a_model("a/vectors", "Vectors", output_modalities=("embedding",)), ())

        for sample in samples.samples(listing, base_url="http://x/api/v1"):
            assert "embeddings" in sample.code
            assert "messages" not in sample.code


class TestTheAddress:
    @pytest.mark.parametrize("host", ["example.com", "127.0.0.1:8000", "[::1]:8000", "a-b.example", "localhost"])
    def test_is_where_the_page_was_asked_for(self, host: str) -> None:
        assert api_url(public_url=None, scheme="http", host=host) == f"http://{host}/api/v1"
        assert api_url(public_url=None, scheme="https", host=host) == f"https://{host}/api/v1"

    @pytest.mark.parametrize(
        "host",
        [
            None,
            "",
            "a/b",
            "a b",
            'a"',
            "a@b",
            "x'; rm -rf /",
            "<b>",
            "a:port",
            "-a",
            "a\n",
            "ä.de",
            "a:123456",
            "x" * 300,
        ],
    )
    def test_is_nothing_that_is_not_a_host(self, host: str | None) -> None:
        assert api_url(public_url=None, scheme="http", host=host) == "http://localhost:8000/api/v1"

    @given(texts)
    def test_has_nothing_in_it_that_any_language_takes_for_more_than_text(self, host: str) -> None:
        assert not set(api_url(public_url=None, scheme="http", host=host)) & set("\"'\\<>&$` \n@")

    def test_is_what_the_operator_says(self) -> None:
        told = api_url(public_url="https://gateway.example.com", scheme="http", host="evil.test")

        assert told == "https://gateway.example.com/api/v1"
