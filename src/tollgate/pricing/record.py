"""What is written down of every change to prices and to adjustments of them: their public facts, before and after."""

from collections.abc import Sequence

from tollgate.infra import changes
from tollgate.infra.changes import Act, Action, Deed, Facts
from tollgate.infra.database import WriteSession
from tollgate.kit import money
from tollgate.kit.ids import typed, typed_or_none
from tollgate.pricing.model import Publication, PublishedAdjustment

Subject = Publication | PublishedAdjustment


async def published(session: WriteSession, subjects: Sequence[Subject], *, act: Act) -> None:
    """Write down that these are new."""
    deeds = [Deed(Action.PUBLISHED, *_name_of(each), None, _facts_of(each)) for each in subjects]
    await changes.record(session, deeds, act=act)


async def ended(session: WriteSession, before: Subject, after: Subject, *, act: Act) -> None:
    """Write down that a subject was given an end."""
    deed = Deed(Action.CHANGED, *_name_of(after), _facts_of(before), _facts_of(after))
    await changes.record(session, [deed], act=act)


async def withdrawn(session: WriteSession, subject: Subject, *, act: Act) -> None:
    """Write down that a subject was taken back before it began."""
    await changes.record(session, [Deed(Action.WITHDRAWN, *_name_of(subject), _facts_of(subject), None)], act=act)


def _name_of(subject: Subject) -> tuple[str, str]:
    """The word for what the subject is, and its id."""
    if isinstance(subject, Publication):
        return "price", typed("price", subject.version.id)
    return "price_adjustment", typed("padj", subject.adjustment.id)


def _facts_of(subject: Subject) -> Facts:
    """The subject's fields, as JSON has them."""
    return _of_version(subject) if isinstance(subject, Publication) else _of_adjustment(subject)


def _of_version(publication: Publication) -> Facts:
    version = publication.version
    return {
        "id": typed("price", version.id),
        "endpoint": typed("ep", version.endpoint_id),
        "organization": typed_or_none("org", version.organization_id),
        "service_tier": version.service_tier,
        "effective_from": version.effective_from.isoformat(),
        "effective_to": None if version.effective_to is None else version.effective_to.isoformat(),
        "source": publication.source.value,
        "items": [
            {
                "kind": item.kind.value,
                "price": money.amount_text(item.unit_price),
                "unit": item.unit.value,
                "prompt_tokens_from": item.prompt_tokens_from,
                "prompt_tokens_below": item.prompt_tokens_below,
            }
            for item in version.items
        ],
    }


def _of_adjustment(published: PublishedAdjustment) -> Facts:
    adjustment = published.adjustment
    return {
        "id": typed("padj", adjustment.id),
        "organization": typed_or_none("org", adjustment.organization_id),
        "model": adjustment.model,
        "provider": adjustment.provider,
        "percent": money.amount_text(adjustment.percent),
        "effective_from": adjustment.effective_from.isoformat(),
        "effective_to": None if adjustment.effective_to is None else adjustment.effective_to.isoformat(),
    }
