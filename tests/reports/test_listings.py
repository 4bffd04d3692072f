"""Which models are listed, and in which order."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.builders import a_provider, an_endpoint
from tests.pricing.builders import a_price, per_million

from tollgate.catalog.model import Model
from tollgate.kit.tokens import Kind
from tollgate.reports import rules
from tollgate.reports.model import Listing, ListingFilter, ListingOrder, Offer


@given(
    order=st.sampled_from([order for order in ListingOrder if not order.startswith("-")]),
    lengths=st.lists(st.none() | st.integers(1, 3), max_size=6),
)
def test_models_sorted_the_other_way_round_keep_the_unknown_last(
    order: ListingOrder, lengths: list[int | None]
) -> None:
    listings = [a_listing(f"a/{place}", length) for place, length in enumerate(lengths)]

    there = rules.sorted_listings(listings, order)
    back = rules.sorted_listings(listings, ListingOrder(f"-{order}"))

    def known(listing: Listing) -> bool:
        return order is not ListingOrder.PRICE and (
            order is not ListingOrder.CONTEXT_LENGTH or listing.offers[0].endpoint.context_length is not None
        )

    for found in (there, back):
        assert sorted(each.model.slug for each in found) == sorted(each.model.slug for each in listings)
        assert [known(each) for each in found] == sorted((known(each) for each in found), reverse=True)
    if order is ListingOrder.CONTEXT_LENGTH:
        told = [each.offers[0].endpoint.context_length or 0 for each in there if known(each)]
        assert told == sorted(told, reverse=True)


def a_listing(slug: str, context_length: int | None) -> Listing:
    model = Model(slug, slug, "", (), (), "o200k_base", datetime(2026, 1, 1, tzinfo=UTC))
    endpoint = an_endpoint(model=slug, context_length=context_length)
    return Listing(model, (Offer(endpoint, a_provider(), None, routable=True),))


def test_what_is_asked_of_offers_is_met_by_one_of_them() -> None:
    cheap, long = (
        Offer(
            an_endpoint(slug, context_length=length),
            a_provider(slug),
            a_price(per_million(Kind.PROMPT, price)),
            routable=True,
        )
        for slug, length, price in (("cheap", 1000, "1"), ("long", 9000, "5"))
    )
    listing = Listing(a_listing("a/b", None).model, (cheap, long))
    for wanted, found in (
        (ListingFilter(max_price=Decimal(1)), True),
        (ListingFilter(context_length=9000), True),
        (ListingFilter(max_price=Decimal(1), context_length=9000), False),
        (ListingFilter(max_price=Decimal(1), providers=("long",)), False),
        (ListingFilter(max_price=Decimal(5), context_length=9000, providers=("long",)), True),
    ):
        assert rules.matches(listing, wanted) is found
