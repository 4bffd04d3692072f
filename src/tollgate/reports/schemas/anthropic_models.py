"""The models as Anthropic's clients list them.

Wire format: https://platform.claude.com/docs/en/api/models-list
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from tollgate.infra.web import PAGE_MAX, Body
from tollgate.kit.errors import InvalidRequest
from tollgate.reports.model import Listing


class PageParameters(Body, kw_only=True, frozen=True):
    """Which page: what follows one model, or what comes before another."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 20
    after_id: str | None = None
    before_id: str | None = None


class AnthropicModel(Struct, kw_only=True, frozen=True):
    """One model."""

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: datetime
    lifecycle: Literal["active", "deprecated", "retired"]
    deprecated_at: datetime | None
    """`null` while it is active."""
    retires_at: datetime | None
    max_input_tokens: int | None
    max_tokens: int | None

    @classmethod
    def of(cls, listing: Listing, now: datetime) -> "AnthropicModel":
        """The model, with the most that any endpoint of it takes and gives."""
        model = listing.model
        ends = model.is_deprecated(now) or model.is_retired(now)
        return cls(
            id=model.slug,
            display_name=model.name,
            created_at=model.created_at,
            lifecycle="retired" if model.is_retired(now) else "deprecated" if ends else "active",
            deprecated_at=(model.deprecated_at or model.retires_at) if ends else None,
            retires_at=model.retires_at if ends else None,
            max_input_tokens=listing.context_length,
            max_tokens=listing.max_output,
        )


class AnthropicModels(Struct, kw_only=True, frozen=True):
    """One page of them."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, listings: Sequence[Listing], asked: PageParameters, now: datetime) -> "AnthropicModels":
        """The page that was asked for, in order of slug.

        Raises:
            InvalidRequest: it is to begin or end at a model that there is not.
        """
        slugs = [listing.model.slug for listing in listings]
        start, stop = 0, len(listings)
        if asked.after_id is not None:
            start = _place(slugs, asked.after_id, "after_id") + 1
        if asked.before_id is not None:
            stop = _place(slugs, asked.before_id, "before_id")
        within = listings[start:stop]
        from_the_end = asked.before_id is not None and asked.after_id is None
        shown = within[-asked.limit :] if from_the_end else within[: asked.limit]
        data = [AnthropicModel.of(listing, now) for listing in shown]
        return cls(
            data=data,
            has_more=len(within) > len(shown),
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
        )


def _place(slugs: Sequence[str], slug: str, field: str) -> int:
    if slug not in slugs:
        raise InvalidRequest(f"There is no model {slug[:200]!r}.", field=field)
    return slugs.index(slug)
