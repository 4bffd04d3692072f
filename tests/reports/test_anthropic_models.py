"""The list of models in Anthropic's shape: pages tile it, in either direction."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tollgate.catalog.model import Model
from tollgate.kit.errors import InvalidRequest
from tollgate.reports.model import Listing
from tollgate.reports.schemas.anthropic_models import AnthropicModel, AnthropicModels, PageParameters

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)
LISTINGS = [
    Listing(Model(f"acme/{name}", name, "", ("text",), ("text",), "o200k_base", datetime(2026, 1, 1, tzinfo=UTC)), ())
    for name in "abcde"
]


def slugs(**asked: object) -> tuple[str, bool]:
    page = AnthropicModels.of(LISTINGS, PageParameters(**asked), NOW)  # type: ignore[arg-type]  # a test names them
    assert (page.first_id, page.last_id) == (page.data[0].id, page.data[-1].id)
    return "".join(model.id[-1] for model in page.data), page.has_more


def test_pages_go_forward_and_backward() -> None:
    assert slugs() == ("abcde", False)
    assert slugs(limit=2) == ("ab", True)
    assert slugs(limit=2, after_id="acme/b") == ("cd", True)
    assert slugs(limit=2, after_id="acme/d") == ("e", False)
    assert slugs(limit=2, before_id="acme/d") == ("bc", True)
    assert slugs(limit=5, before_id="acme/d") == ("abc", False)
    assert slugs(limit=1, after_id="acme/a", before_id="acme/d") == ("b", True)


def test_a_page_after_the_end_is_empty() -> None:
    page = AnthropicModels.of(LISTINGS, PageParameters(after_id="acme/e"), NOW)
    assert (page.data, page.has_more, page.first_id, page.last_id) == ([], False, None, None)


@pytest.mark.parametrize("field", ["after_id", "before_id"])
def test_a_page_begins_at_a_model_there_is(field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        slugs(**{field: "acme/z"})
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("deprecated", "retires", "told"),
    [
        (None, None, ("active", None, None)),
        (TOMORROW, TOMORROW, ("active", None, None)),
        (NOW, TOMORROW, ("deprecated", NOW, TOMORROW)),
        (NOW, None, ("deprecated", NOW, None)),
        (None, NOW, ("retired", NOW, NOW)),
    ],
)
def test_a_model_says_where_in_its_life_it_is(
    deprecated: datetime | None, retires: datetime | None, told: tuple[str, datetime | None, datetime | None]
) -> None:
    model = replace(LISTINGS[0].model, deprecated_at=deprecated, retires_at=retires)
    shown = AnthropicModel.of(Listing(model, ()), NOW)
    assert (shown.lifecycle, shown.deprecated_at, shown.retires_at) == told
