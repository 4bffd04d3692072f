"""All SQL of the catalogue. Row and value differ in one thing: lists in the one are tuples in the other."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tollgate.catalog.model import Alias, DataPolicy, Endpoint, Format, Model, Provider, Timeouts
from tollgate.catalog.tables import AliasRow, EndpointRow, ModelRow, ProviderRow, RevisionRow
from tollgate.infra.chunks import chunks
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.errors import Conflict
from tollgate.kit.ids import EndpointId

PROVIDERS: sa.Table = ProviderRow.__table__  # type: ignore[attr-defined]  # SQLModel adds it to table classes
MODELS: sa.Table = ModelRow.__table__  # type: ignore[attr-defined]  # as above
ENDPOINTS: sa.Table = EndpointRow.__table__  # type: ignore[attr-defined]  # as above
ALIASES: sa.Table = AliasRow.__table__  # type: ignore[attr-defined]  # as above
REVISION: sa.Table = RevisionRow.__table__  # type: ignore[attr-defined]  # as above

_CHANGING = int.from_bytes(b"catalog")
"""The advisory lock of whoever changes the catalogue."""
_NAMED_MAX = 10
_PARTS = {
    "data_policy": {name: ENDPOINTS.c[name] for name in ("training", "logging", "moderation")},
    "timeouts": {
        "connect_seconds": ENDPOINTS.c.connect_timeout_seconds,
        "first_byte_seconds": ENDPOINTS.c.first_byte_timeout_seconds,
        "idle_seconds": ENDPOINTS.c.idle_timeout_seconds,
    },
}
"""What of an endpoint is a value of its own in memory, and some columns in its table."""
_PART_COLUMNS = [column for columns in _PARTS.values() for column in columns.values()]
_WHOLE_ENDPOINTS = sa.select(
    *(column for column in ENDPOINTS.c if column not in _PART_COLUMNS),
    *(
        sa.func.json_build_object(*(part for pair in columns.items() for part in pair)).label(name)
        for name, columns in _PARTS.items()
    ),
)
_PROVIDERS_TEXT = msgspec.json.Decoder(list[Provider])
_MODELS_TEXT = msgspec.json.Decoder(list[Model])
_ALIASES_TEXT = msgspec.json.Decoder(list[Alias])
_ENDPOINTS_TEXT = msgspec.json.Decoder(list[Endpoint])


async def revision(session: ReadSession) -> int:
    """The number that moves with every change to catalogue or prices."""
    return int((await session.execute(sa.select(REVISION.c.revision))).scalar_one())


async def lock_catalogue(session: WriteSession) -> None:
    """Wait for whoever else is changing providers, models, endpoints or aliases, until the transaction ends.

    So what a change was checked against still holds when it is committed. Readers and whoever publishes prices go on.
    """
    await session.execute(sa.select(sa.func.pg_advisory_xact_lock(_CHANGING)))


async def provider(session: ReadSession, slug: str) -> Provider | None:
    """The provider of this slug."""
    row = await _one(session, sa.select(PROVIDERS).where(PROVIDERS.c.slug == slug))
    return None if row is None else _provider(row)


async def providers(session: ReadSession, *, after: str | None = None, count: int | None = None) -> list[Provider]:
    """The providers in order of slug, from the one that follows `after`."""
    return [_provider(row) for row in await _listed(session, PROVIDERS, after, count)]


async def model(session: ReadSession, slug: str) -> Model | None:
    """The model of this slug."""
    row = await _one(session, sa.select(MODELS).where(MODELS.c.slug == slug))
    return None if row is None else _model(row)


async def models(session: ReadSession, *, after: str | None = None, count: int | None = None) -> list[Model]:
    """The models in order of slug, from the one that follows `after`."""
    return [_model(row) for row in await _listed(session, MODELS, after, count)]


async def replacements(session: ReadSession) -> dict[str, str | None]:
    """Every model, with what it is replaced by."""
    rows = await session.execute(sa.select(MODELS.c.slug, MODELS.c.replaced_by))
    return {row.slug: row.replaced_by for row in rows}


async def alias(session: ReadSession, slug: str) -> Alias | None:
    """The alias of this slug."""
    row = await _one(session, sa.select(ALIASES).where(ALIASES.c.slug == slug))
    return None if row is None else Alias(**row._asdict())


async def aliases(session: ReadSession, *, after: str | None = None, count: int | None = None) -> list[Alias]:
    """The aliases in order of slug, from the one that follows `after`."""
    return [Alias(**row._asdict()) for row in await _listed(session, ALIASES, after, count)]


async def everything(session: ReadSession) -> tuple[list[Provider], list[Model], list[Endpoint], list[Alias]]:
    """All there is, in no order.

    A gateway reads it while calls wait. So each table comes as one text, which is decoded in a fraction of the time
    that its rows would take.
    """
    return (
        _PROVIDERS_TEXT.decode(await _text(session, sa.select(PROVIDERS))),
        _MODELS_TEXT.decode(await _text(session, sa.select(MODELS))),
        _ENDPOINTS_TEXT.decode(await _text(session, _WHOLE_ENDPOINTS)),
        _ALIASES_TEXT.decode(await _text(session, sa.select(ALIASES))),
    )


async def _text(session: ReadSession, rows: sa.Select[Any]) -> str:
    listed = sa.func.json_agg(rows.subquery("listed").table_valued())
    return (await session.execute(sa.select(sa.cast(listed, sa.Text)))).scalar_one() or "[]"


async def _one(session: ReadSession, statement: sa.Select[Any]) -> sa.Row[Any] | None:
    found: sa.Row[Any] | None = (await session.execute(statement)).one_or_none()
    return found


async def _listed(session: ReadSession, table: sa.Table, after: str | None, count: int | None) -> Sequence[sa.Row[Any]]:
    statement = sa.select(table).order_by(table.c.slug.collate("C")).limit(count)
    if after is not None:
        statement = statement.where(table.c.slug.collate("C") > after)
    return (await session.execute(statement)).all()


async def endpoint(session: ReadSession, endpoint_id: EndpointId) -> Endpoint | None:
    """The endpoint of this id."""
    row = await _one(session, sa.select(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id))
    return None if row is None else _endpoint(row)


async def endpoint_of(session: ReadSession, *, model: str, provider: str) -> Endpoint | None:
    """The endpoint of this model at this provider."""
    statement = sa.select(ENDPOINTS).where(ENDPOINTS.c.model == model, ENDPOINTS.c.provider == provider)
    row = await _one(session, statement)
    return None if row is None else _endpoint(row)


async def endpoints(
    session: ReadSession,
    *,
    model: str | None = None,
    provider: str | None = None,
    before: UUID | None = None,
    count: int | None = None,
) -> list[Endpoint]:
    """The endpoints of a model, of a provider, or all; newest first."""
    statement = sa.select(ENDPOINTS).order_by(ENDPOINTS.c.id.desc()).limit(count)
    for column, value in ((ENDPOINTS.c.model, model), (ENDPOINTS.c.provider, provider)):
        if value is not None:
            statement = statement.where(column == value)
    if before is not None:
        statement = statement.where(ENDPOINTS.c.id < before)
    return [_endpoint(row) for row in await session.execute(statement)]


async def add_provider(session: WriteSession, added: Provider) -> None:
    """Insert a provider.

    Raises:
        Conflict: there is one of this slug.
    """
    await _insert(session, PROVIDERS, asdict(added), f"There is a provider {added.slug} already.")


async def add_model(session: WriteSession, added: Model) -> None:
    """Insert a model.

    Raises:
        Conflict: there is one of this slug.
    """
    await _insert(session, MODELS, asdict(added), f"There is a model {added.slug} already.")


async def add_endpoint(session: WriteSession, added: Endpoint) -> None:
    """Insert an endpoint.

    Raises:
        Conflict: the provider has this model already.
    """
    message = f"There is an endpoint for {added.model} at {added.provider} already."
    await _insert(session, ENDPOINTS, _columns(added), message)


async def add_alias(session: WriteSession, added: Alias) -> None:
    """Insert an alias.

    Raises:
        Conflict: there is one of this slug.
    """
    await _insert(session, ALIASES, asdict(added), f"There is an alias {added.slug} already.")


async def _insert(
    session: WriteSession, table: sa.Table, values: dict[str, Any] | Sequence[dict[str, Any]], message: str
) -> None:
    try:
        await session.execute(sa.insert(table).values(values))
    except IntegrityError as error:
        raise Conflict(message) from error


async def add_all(
    session: WriteSession, *, providers: Sequence[Provider], models: Sequence[Model], endpoints: Sequence[Endpoint]
) -> None:
    """Insert many at once, with few statements, because each moves the revision.

    Raises:
        Conflict: one of them is there already.
    """
    tables = (
        (PROVIDERS, [asdict(provider) for provider in providers]),
        (MODELS, [asdict(model) for model in models]),
        (ENDPOINTS, [_columns(endpoint) for endpoint in endpoints]),
    )
    for table, rows in tables:
        for chunk in chunks(rows):
            await _insert(session, table, chunk, f"Some {table.name} are there already.")


async def save_provider(session: WriteSession, changed: Provider) -> None:
    """Write every field of a provider."""
    await session.execute(sa.update(PROVIDERS).where(PROVIDERS.c.slug == changed.slug).values(asdict(changed)))


async def save_model(session: WriteSession, changed: Model) -> None:
    """Write every field of a model."""
    await session.execute(sa.update(MODELS).where(MODELS.c.slug == changed.slug).values(asdict(changed)))


async def save_endpoint(session: WriteSession, changed: Endpoint) -> None:
    """Write every field of an endpoint."""
    await session.execute(sa.update(ENDPOINTS).where(ENDPOINTS.c.id == changed.id).values(_columns(changed)))


async def models_at(session: ReadSession, provider: str) -> list[str]:
    """The models that have endpoints at a provider; at most a few of them, in order."""
    statement = sa.select(ENDPOINTS.c.model).where(ENDPOINTS.c.provider == provider)
    return list((await session.execute(statement.order_by(ENDPOINTS.c.model).limit(_NAMED_MAX))).scalars())


async def delete_provider(session: WriteSession, slug: str) -> None:
    """Delete a provider that has no endpoints.

    Raises:
        Conflict: an adjustment of prices names it.
    """
    await _delete(session, sa.delete(PROVIDERS).where(PROVIDERS.c.slug == slug), _adjusted(slug))


async def delete_model(session: WriteSession, slug: str) -> None:
    """Delete a model that nothing in the catalogue refers to.

    Raises:
        Conflict: an adjustment of prices names it.
    """
    await _delete(session, sa.delete(MODELS).where(MODELS.c.slug == slug), _adjusted(slug))


async def delete_alias(session: WriteSession, slug: str) -> None:
    """Delete an alias."""
    await session.execute(sa.delete(ALIASES).where(ALIASES.c.slug == slug))


async def referrers(session: ReadSession, model: str) -> dict[str, list[str]]:
    """What refers to a model, by what it is to it; at most a few of each, in order."""
    named = {
        "endpoints": sa.select(ENDPOINTS.c.provider).where(ENDPOINTS.c.model == model),
        "aliases": sa.select(ALIASES.c.slug).where(ALIASES.c.model == model),
        "replaces": sa.select(MODELS.c.slug).where(MODELS.c.replaced_by == model),
    }
    return {
        what: names
        for what, statement in named.items()
        if (
            names := list(
                (await session.execute(statement.order_by(sa.literal_column("1")).limit(_NAMED_MAX))).scalars()
            )
        )
    }


async def delete_endpoint(session: WriteSession, endpoint_id: EndpointId) -> None:
    """Delete an endpoint.

    Raises:
        Conflict: it has prices. Whoever is publishing one at this moment is waited for.
    """
    priced = Conflict(
        "This endpoint has prices, and with them the calls that were charged by them: both are kept for good. "
        'Disable it instead: PATCH {"enabled": false}.',
        metadata={"refers": ["prices"]},
    )
    await _delete(session, sa.delete(ENDPOINTS).where(ENDPOINTS.c.id == endpoint_id), priced)


async def _delete(session: WriteSession, statement: sa.Delete, refusal: Conflict) -> None:
    """Delete, or raise the refusal if something of another slice refers to the row."""
    try:
        await session.execute(statement)
    except IntegrityError as error:
        raise refusal from error


def _adjusted(slug: str) -> Conflict:
    return Conflict(
        f"An adjustment of prices names {slug}, and with it the calls that were charged by it: both are kept for good.",
        metadata={"refers": ["price_adjustments"]},
    )


def _columns(endpoint: Endpoint) -> dict[str, Any]:
    columns = asdict(endpoint)
    for name, parts in _PARTS.items():
        values: dict[str, Any] = columns.pop(name)
        columns |= {column.name: values[part] for part, column in parts.items()}
    return columns


def _provider(row: sa.Row[Any]) -> Provider:
    fields = row._asdict()
    return Provider(**fields | {"format": Format(row.format), "regions": tuple(row.regions)})


def _model(row: sa.Row[Any]) -> Model:
    modalities = {name: tuple(getattr(row, name)) for name in ("input_modalities", "output_modalities")}
    return Model(**row._asdict() | modalities)


def _endpoint(row: sa.Row[Any]) -> Endpoint:
    return Endpoint(
        id=EndpointId(row.id),
        model=row.model,
        provider=row.provider,
        upstream_model=row.upstream_model,
        context_length=row.context_length,
        max_output=row.max_output,
        protocols=tuple(row.protocols),
        supported_parameters=tuple(row.supported_parameters),
        data_policy=DataPolicy(row.training, row.logging, row.moderation),
        supports_cancel=row.supports_cancel,
        enabled=row.enabled,
        ignorable_parameters=tuple(row.ignorable_parameters),
        timeouts=Timeouts(row.connect_timeout_seconds, row.first_byte_timeout_seconds, row.idle_timeout_seconds),
    )
