"""What holds of every plan, whatever the world."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.situations import KEEPS, ZERO, Place, circuit, doing, order_of, place, plan

from tollgate.catalog.model import DataPolicy
from tollgate.gateway import ranking
from tollgate.gateway.model import PromptTokens
from tollgate.health.model import Condition, Fault
from tollgate.kit.errors import TollgateError
from tollgate.kit.principal import RoutingPolicy
from tollgate.statistics.model import Standing, Tally

LONG = PromptTokens(likely=900, most=900)
CONDITIONS = st.one_of(
    st.builds(
        circuit, st.sampled_from(Fault), seconds=st.integers(min_value=-100, max_value=100), told=st.booleans()
    ),
    st.builds(
        doing, st.integers(min_value=0, max_value=500), st.integers(min_value=0, max_value=500),
        st.none() | st.integers(min_value=0, max_value=60_000), st.none() | st.integers(min_value=0, max_value=10**6),
    ),
    st.just(Condition()),
)  # fmt: skip
PLACES = st.builds(
    lambda name, price, condition, enabled, policy, context: place(
        name, price=price, condition=condition, enabled=enabled, data_policy=policy, context_length=context
    ),
    st.sampled_from("abcdefgh"), st.none() | st.sampled_from(["0", "0.5", "1", "2"]), CONDITIONS, st.booleans(),
    st.sampled_from([ZERO, KEEPS, DataPolicy()]), st.none() | st.sampled_from([100, 1000, 10_000]),
)  # fmt: skip
WORLDS = st.lists(PLACES, min_size=1, max_size=8, unique_by=lambda each: each.name)
WISHES = st.fixed_dictionaries({}, optional={
    "order": st.lists(st.sampled_from("abcd"), max_size=3), "sort": st.sampled_from(["price", "latency", "throughput"]),
    "ignore": st.lists(st.sampled_from("efgh"), max_size=2), "zdr": st.booleans(), "allow_fallbacks": st.booleans(),
    "data_collection": st.sampled_from(["allow", "deny"]),
})  # fmt: skip


@given(WORLDS, WISHES, st.booleans(), st.randoms(use_true_random=False))
def test_whatever_the_world_the_plan_is_able_allowed_complete_and_stable(
    places: list[Place],
    wishes: dict[str, Any],
    zdr: bool,  # noqa: FBT001 - Hypothesis gives it
    order: Any,
) -> None:
    policies = [RoutingPolicy(zdr=zdr)]
    try:
        planned = plan(places, {"provider": wishes}, policies=policies, prompt=LONG)
    except TollgateError:
        return
    by_name = {each.name: each for each in places}
    for candidate in planned.candidates:
        one = by_name[candidate.provider.slug]
        assert one.parts["enabled"]
        assert one.price is not None
        assert one.parts["context_length"] is None or one.parts["context_length"] > LONG.likely
        assert not (zdr or wishes.get("zdr")) or one.parts["data_policy"] == ZERO
        assert wishes.get("data_collection") != "deny" or one.parts["data_policy"].training is False
        assert one.name not in wishes.get("ignore", ())
    names = [*order_of(planned), *(name.rpartition(":")[2] for name, _ in planned.excluded)]
    assert sorted(names) == sorted(by_name)
    shuffled = list(places)
    order.shuffle(shuffled)
    assert order_of(plan(shuffled, {"provider": wishes}, policies=policies, prompt=LONG)) == order_of(planned)


@given(WORLDS, WISHES.filter(lambda wishes: wishes.get("allow_fallbacks", True)), st.none() | st.sampled_from("abcd"))
def test_a_healthy_endpoint_that_is_cheaper_never_makes_a_plan_worse(
    places: list[Place], wishes: dict[str, Any], sticky: str | None
) -> None:
    sticky = sticky if any(each.name == sticky for each in places) else None
    more = [*places, place("z", price="0", data_policy=ZERO, condition=doing(ok=100_000, latency=0, throughput=10**7))]
    after = order_of(plan(more, {"provider": wishes}, sticky=sticky))
    try:
        before = order_of(plan(places, {"provider": wishes}, sticky=sticky))
    except TollgateError:
        before = ""
    assert after.replace("z", "") == before
    healthy = [each.name for each in places if each.condition.circuit is None]
    preferred = {*wishes.get("order", ()), *([] if sticky is None else [sticky])}
    # It comes before all that the caller did not put first.
    assert all(name in preferred for name in after[: after.index("z")] if name in healthy)


@given(
    st.integers(min_value=0, max_value=10**6), st.integers(min_value=0, max_value=10**6),
    st.integers(min_value=0, max_value=10**6),
)  # fmt: skip
def test_an_endpoint_weighs_more_the_more_it_fails_and_the_slower_it_is(ok: int, failed: int, latency: int) -> None:
    weight = ranking.weight_of(Standing(Tally(ok, failed), latency, None))
    assert weight <= ranking.weight_of(Standing(Tally(ok, failed + 1), latency, None))
    assert weight <= ranking.weight_of(Standing(Tally(ok, failed), latency + 1, None))
    assert weight >= ranking.weight_of(Standing(Tally(ok + 1, failed), latency, None))
    assert weight >= 1_000_000


def test_the_weights_are_those_of_the_documents() -> None:
    # (1 + 1 s / 10 s) / 1²; (1 + 0.5 / 10) / (920 / 1020)²; the latency counts up to 10 s.
    assert ranking.weight_of(None) == 1_100_000
    assert ranking.weight_of(Standing(Tally(900, 100), 500, None)) == 1_050_000 * 1020 * 1020 // (920 * 920)
    assert ranking.weight_of(Standing(Tally(0, 0), 60_000, None)) == 2_000_000
