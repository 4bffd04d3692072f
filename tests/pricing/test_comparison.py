"""What an import publishes follows from the list, from what is here, and from the instant alone."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from tests.pricing.builders import JANUARY, a_price, per_million, tiers

from tollgate.kit.ids import KeyId
from tollgate.kit.tokens import Kind
from tollgate.pricing.comparison import Action, compare, describe
from tollgate.pricing.genai_prices import BEGINNING
from tollgate.pricing.model import DatedItems, Publication, Source

NOW = JANUARY + timedelta(days=100)
LATER = NOW + timedelta(days=1)
EARLIER = NOW - timedelta(days=1)


def priced(price: str, since: datetime = BEGINNING) -> DatedItems:
    return DatedItems(since, (per_million(Kind.PROMPT, price),))


def here(
    price: str, *, until: datetime | None = None, source: Source = Source.IMPORT, since: datetime = JANUARY
) -> Publication:
    version = a_price(per_million(Kind.PROMPT, price), since=since, until=until)
    return Publication(version, source, JANUARY, KeyId(UUID(int=7)))


def test_a_price_that_is_not_here_comes_with_its_whole_history() -> None:
    listed = [priced("3"), priced("2", EARLIER), priced("1", LATER)]

    compared = compare(listed, [], NOW)

    assert (compared.action, compared.to_publish, compared.detail) == (Action.ADDED, listed, "prompt 1")


def test_a_change_that_the_list_dates_back_takes_effect_now() -> None:
    compared = compare([priced("3"), priced("2", EARLIER)], [here("3")], NOW)

    assert compared.action is Action.CHANGED
    assert compared.to_publish == [priced("2", NOW)]
    assert compared.detail == "prompt 3 → prompt 2"


def test_only_what_follows_is_published_where_the_price_in_force_is_right() -> None:
    compared = compare([priced("3"), priced("2", LATER)], [here("3")], NOW)

    assert (compared.action, compared.to_publish) == (Action.CHANGED, [priced("2", LATER)])


@pytest.mark.parametrize(
    ("published", "action"),
    [
        ([here("3")], Action.UNCHANGED),
        ([here("3", source=Source.OPERATOR)], Action.UNCHANGED),
        ([here("9", source=Source.OPERATOR)], Action.CONFLICT),
        ([here("9", until=NOW, source=Source.OPERATOR), here("3", since=NOW)], Action.UNCHANGED),
        ([here("9", until=LATER), here("8", since=LATER)], Action.CONFLICT),
        ([here("3", until=NOW)], Action.CHANGED),
    ],
)
def test_what_is_right_or_done_by_hand_is_left_alone(published: list[Publication], action: Action) -> None:
    assert compare([priced("3")], published, NOW).action is action


def test_prices_are_described_with_the_beginnings_of_their_tiers() -> None:
    items = (*tiers(Kind.PROMPT, "3", "6"), per_million(Kind.COMPLETION, "15"))

    assert describe(items) == "prompt 3, prompt 6 [from 200,000], completion 15"
