"""What is written down of every change to the catalogue: the subject's public fields, before and after.

A credential is in them by reference, as it is everywhere: its value is nowhere in the database.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from tollgate.catalog.model import Alias, Endpoint, Model, Provider
from tollgate.infra import changes
from tollgate.infra.changes import Act, Action, Deed, Facts
from tollgate.infra.database import WriteSession
from tollgate.kit.ids import typed

Subject = Provider | Model | Endpoint | Alias
KINDS: dict[type[Any], str] = {Provider: "provider", Model: "model", Endpoint: "endpoint", Alias: "alias"}


async def created(session: WriteSession, subjects: Iterable[Subject], *, act: Act) -> None:
    """Write down that these are new."""
    deeds = [Deed(Action.CREATED, kind_of(each), name_of(each), None, facts_of(each)) for each in subjects]
    await changes.record(session, deeds, act=act)


async def changed(session: WriteSession, before: Subject, after: Subject, *, act: Act) -> None:
    """Write down that a subject is another now."""
    deed = Deed(Action.CHANGED, kind_of(after), name_of(after), facts_of(before), facts_of(after))
    await changes.record(session, [deed], act=act)


async def deleted(session: WriteSession, subject: Subject, *, act: Act) -> None:
    """Write down that a subject is no more."""
    deed = Deed(Action.DELETED, kind_of(subject), name_of(subject), facts_of(subject), None)
    await changes.record(session, [deed], act=act)


def kind_of(subject: Subject) -> str:
    """The word for what the subject is."""
    return KINDS[type(subject)]


def name_of(subject: Subject) -> str:
    """How the subject is called in the interface: by its id if it has one, else by its slug."""
    return typed("ep", subject.id) if isinstance(subject, Endpoint) else subject.slug


def facts_of(subject: Subject) -> Facts:
    """The subject's fields, as JSON has them."""
    facts: dict[str, Any] = msgspec.to_builtins(subject)
    return facts | {"id": name_of(subject)} if isinstance(subject, Endpoint) else facts
