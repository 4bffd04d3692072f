"""The commands on organizations and keys, for whoever can reach the database: they need no key of their own."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NO_LIMITS, BillingMode, NewOrganization
from tollgate.accounts.schemas import OrganizationView
from tollgate.entrypoints import cli_options
from tollgate.entrypoints.cli_database import opened
from tollgate.infra import web
from tollgate.infra.database import WriteSession
from tollgate.keys import service
from tollgate.keys.model import Filters, NewKey
from tollgate.keys.schemas import KeyView, MintedKeyView
from tollgate.kit.clock import SystemClock
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import PLATFORM, KeyId, OrganizationId, ProjectId
from tollgate.kit.principal import KeyKind

Result = TypeVar("Result")

_organization_option = click.option(
    "--organization",
    metavar="ORG_ID",
    help="The organization; left out, the installation itself and its operator keys.",
)


@click.group()
def organizations() -> None:
    """The customers of this installation."""


@organizations.command("create")
@click.option("--name", required=True)
@click.option(
    "--billing-mode", type=click.Choice([mode.value for mode in BillingMode]), default="prepaid", show_default=True
)
@click.option("--credit-limit", default="0", show_default=True, help="How far the balance may fall below zero.")
@click.option("--timezone", default="UTC", show_default=True, help="The IANA zone of its days and months.")
@click.option("--currency", default="USD", show_default=True)
@cli_options.data_dir_option
@cli_options.json_option
def create_organization(data_dir: Path, *, as_json: bool, credit_limit: str, **decided: str) -> None:
    """Create an organization."""

    async def work(session: WriteSession) -> OrganizationView:
        order = msgspec.convert({**decided, "credit_limit": web.amount(credit_limit, "credit_limit")}, NewOrganization)
        created = await accounts.create_organization(session, order=order, now=SystemClock().now())
        return OrganizationView.of(created, NO_LIMITS)

    created = _run(data_dir, work)
    _answer(created, f"{created.id}  {created.name}", as_json=as_json)


@organizations.command("list")
@click.option("--limit", type=click.IntRange(1, web.PAGE_MAX), default=100, show_default=True)
@cli_options.data_dir_option
@cli_options.json_option
def list_organizations(data_dir: Path, *, as_json: bool, limit: int) -> None:
    """List organizations, newest first."""

    async def work(session: WriteSession) -> list[OrganizationView]:
        rows = await accounts.list_organizations(session, before=None, count=limit)
        limits = await accounts.limits_of(session, [(row.id, row.id) for row in rows])
        return [OrganizationView.of(row, limits.get(row.id, NO_LIMITS)) for row in rows]

    rows = _run(data_dir, work)
    _answer(rows, _lines([(row.id, row.status, row.billing_mode, row.name) for row in rows]), as_json=as_json)


@click.group()
def keys() -> None:
    """The API keys of an organization, or of the operators."""


class KeyOptions(msgspec.Struct, kw_only=True, frozen=True):
    """What `keys create` was told."""

    organization: str | None
    kind: KeyKind
    name: str
    project: str | None
    models: tuple[str, ...]
    tags: tuple[str, ...]
    expires_at: datetime | None

    def order(self) -> NewKey:
        if (self.kind is KeyKind.OPERATOR) == (self.organization is not None):
            raise InvalidRequest("An operator key belongs to no organization; every other key needs --organization.")
        return NewKey(
            organization_id=_owner(self.organization),
            kind=self.kind,
            name=self.name,
            project_id=None if self.project is None else ProjectId(web.parse_id("prj", self.project, "--project")),
            models=self.models or None,
            tags=self.tags,
            expires_at=None if self.expires_at is None else self.expires_at.replace(tzinfo=UTC),
        )


@keys.command("create")
@_organization_option
@click.option("--kind", type=click.Choice([kind.value for kind in KeyKind]), default="inference", show_default=True)
@click.option("--name", required=True)
@click.option("--project", metavar="PROJECT_ID")
@click.option("--model", "models", multiple=True, help="A model it may call, author/name; repeatable. None allows all.")
@click.option("--tag", "tags", multiple=True, help="Repeatable.")
@click.option("--expires-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"]), help="In UTC.")
@cli_options.data_dir_option
@cli_options.json_option
def create_key(data_dir: Path, *, as_json: bool, **options: object) -> None:
    """Create a key and print its text, which is shown this once."""

    async def work(session: WriteSession) -> MintedKeyView:
        order = msgspec.convert(options, KeyOptions).order()
        minted = await service.create(session, order=order, now=SystemClock().now())
        return MintedKeyView.of(minted, NO_LIMITS)

    minted = _run(data_dir, work)
    _answer(minted, minted.key, as_json=as_json)


@keys.command("list")
@_organization_option
@click.option("--include-revoked", is_flag=True)
@click.option("--limit", type=click.IntRange(1, web.PAGE_MAX), default=100, show_default=True)
@cli_options.data_dir_option
@cli_options.json_option
def list_keys(data_dir: Path, *, as_json: bool, organization: str | None, include_revoked: bool, limit: int) -> None:
    """List keys, newest first."""

    async def work(session: WriteSession) -> list[KeyView]:
        owner = _owner(organization)
        rows = await service.list_keys(
            session, organization_id=owner, filters=Filters(include_revoked=include_revoked), before=None, count=limit
        )
        limits = await accounts.limits_of(session, [(owner, row.id) for row in rows])
        return [KeyView.of(row, limits.get(row.id, NO_LIMITS)) for row in rows]

    rows = _run(data_dir, work)
    _answer(rows, _lines([(row.id, row.kind, row.label, _state(row), row.name) for row in rows]), as_json=as_json)


@keys.command("revoke")
@click.argument("key", metavar="KEY_ID")
@_organization_option
@cli_options.data_dir_option
@cli_options.json_option
def revoke_key(data_dir: Path, *, as_json: bool, organization: str | None, key: str) -> None:
    """Revoke a key for good. Its next call is refused by every process."""

    async def work(session: WriteSession) -> KeyView:
        owner, key_id = _owner(organization), KeyId(web.parse_id("key", key, "KEY_ID"))
        revoked = await service.revoke(session, organization_id=owner, key_id=key_id, now=SystemClock().now())
        return KeyView.of(revoked, await accounts.get_limits(session, organization_id=owner, scope_id=key_id))

    revoked = _run(data_dir, work)
    _answer(revoked, f"{revoked.id}  {revoked.label}  revoked", as_json=as_json)


def _owner(organization: str | None) -> OrganizationId:
    if organization is None:
        return PLATFORM
    return OrganizationId(web.parse_id("org", organization, "--organization"))


def _run(data_dir: Path, work: Callable[[WriteSession], Awaitable[Result]]) -> Result:
    """Do the work in one transaction of the database that serves from the data directory."""

    async def in_transaction() -> Result:
        async with opened(data_dir) as database, database.write() as session:
            return await work(session)

    return cli_options.run(in_transaction())


def _answer(value: object, text: str, *, as_json: bool) -> None:
    if as_json:
        cli_options.answer_json(msgspec.to_builtins(value))
    elif text:
        click.echo(text)


def _lines(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _state(key: KeyView) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "disabled" if key.disabled else "active"
