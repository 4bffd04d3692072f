"""Gauging: what is quickly known of a long prompt is close to its count, and never less at most."""

from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.gateway import tokenizer
from tollgate.gateway.model import Prompt
from tollgate.gateway.recall import Recall, Recalled
from tollgate.kit.ids import OrganizationId

ENCODING = "o200k_base"


@pytest.fixture
def recalled() -> Recalled:
    return Recall().of(OrganizationId(UUID(int=1)), ENCODING)


TEXTS = st.lists(
    st.builds(
        lambda text, times: text * times,
        st.text(min_size=1, max_size=30)
        | st.sampled_from(["It was the best of times. ", " " * 20, "中文", "🌍", "a\n"]),
        st.integers(1, 3_000),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)  # the first of them loads a vocabulary
@given(TEXTS)
async def test_no_prompt_is_longer_than_it_is_held_for(texts: list[str]) -> None:
    prompt = Prompt(tuple(texts), messages=1, images=0)
    counted = await tokenizer.count_prompt(prompt, ENCODING)
    recalled = Recall().of(OrganizationId(UUID(int=1)), ENCODING)
    gauged = await tokenizer.gauge_prompt(prompt, ENCODING, recalled)
    assert counted.most <= gauged.most <= tokenizer.most_of(prompt).most
    assert gauged.likely <= gauged.most
    assert not gauged.counted or gauged == counted


@pytest.mark.parametrize("names", [["docs/ARCHITECTURE.md"] * 3, ["src/tollgate/gateway/service.py"] * 4, [
    "docs/ARCHITECTURE.md", "scripts/lock/runtime.txt", "src/tollgate/gateway/service.py",
]])  # fmt: skip
async def test_samples_are_within_a_fifth_of_the_count(repository: Path, recalled: Recalled, names: list[str]) -> None:
    prompt = Prompt(tuple((repository / name).read_text() for name in names), messages=len(names), images=0)
    gauged = await tokenizer.gauge_prompt(prompt, ENCODING, recalled)
    counted = await tokenizer.count_prompt(prompt, ENCODING, recalled)
    assert (gauged.counted, counted.counted) == (False, True)
    assert abs(gauged.likely - counted.likely) < counted.likely // 5


async def test_texts_that_were_counted_before_are_known_and_a_little_more_is_counted(recalled: Recalled) -> None:
    texts = tuple(f"{number} is a number. " * 2_000 for number in range(5))
    counted = await tokenizer.count_prompt(Prompt(texts, messages=5, images=0), ENCODING, recalled)
    assert await tokenizer.gauge_prompt(Prompt(texts, messages=5, images=0), ENCODING, recalled) == counted
    longer = Prompt((*texts, "And one more.", "x" * 2_000), messages=7, images=0)
    assert await tokenizer.gauge_prompt(longer, ENCODING, recalled) == await tokenizer.count_prompt(longer, ENCODING)
