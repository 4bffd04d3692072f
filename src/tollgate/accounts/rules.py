"""What may be said of an organization, a project, their limits and policies, and what may still change later."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

import msgspec

from tollgate.accounts.model import Organization, Project
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.principal import NO_POLICY, RoutingPolicy
from tollgate.kit.slugs import MODEL_SLUG, PROVIDER_SLUG

NAME_CHARACTERS_MAX = 200
POLICY_SLUGS_MAX = 500
_CURRENCY = re.compile(r"[A-Z]{3}")


def check_name(name: str) -> None:
    """A name is 1 to 200 characters, not all of them blank and none a control character.

    Raises:
        InvalidRequest: it is not; `field` is "name".
    """
    if not name.strip():
        raise InvalidRequest("A name cannot be empty.", field="name")
    if len(name) > NAME_CHARACTERS_MAX:
        raise InvalidRequest(f"A name has at most {NAME_CHARACTERS_MAX} characters.", field="name")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        raise InvalidRequest("A name cannot contain control characters.", field="name")


def check_organization(organization: Organization) -> None:
    """An organization has a proper name, an ISO 4217 currency code, no negative credit limit, and a sound policy.

    Raises:
        InvalidRequest: it has not; `field` names the part.
    """
    check_name(organization.name)
    if not _CURRENCY.fullmatch(organization.currency):
        raise InvalidRequest("A currency is a code of three capital letters, such as USD.", field="currency")
    if organization.credit_limit is not None and organization.credit_limit < 0:
        raise InvalidRequest("A credit limit cannot be below zero.", field="credit_limit")
    check_policy(organization.routing)


def check_policy(policy: RoutingPolicy) -> None:
    """A policy names models and providers by slugs, does not both allow and ignore one, and has no negative ceiling.

    Whether there is a provider or model of a name is not asked: what is kept out may come later.

    Raises:
        InvalidRequest: it is not so; `field` names the part, as in `routing.max_price.prompt`.
    """
    _check_slugs("models", policy.models or (), MODEL_SLUG, "openai/gpt-4.1-mini")
    _check_slugs("providers", policy.providers or (), PROVIDER_SLUG, "openai")
    _check_slugs("ignore", policy.ignored_providers, PROVIDER_SLUG, "openai")
    for slug in policy.ignored_providers:
        if slug in (policy.providers or ()):
            raise InvalidRequest(f"{slug} is among the providers as well; name it once.", field="routing.ignore")
    ceilings = (("prompt", policy.max_prompt_price), ("completion", policy.max_completion_price))
    for kind, ceiling in ceilings:
        if ceiling is not None and ceiling < 0:
            raise InvalidRequest("A ceiling of prices cannot be below zero.", field=f"routing.max_price.{kind}")


def _check_slugs(part: str, slugs: Sequence[str], form: re.Pattern[str], example: str) -> None:
    field = f"routing.{part}"
    if len(slugs) > POLICY_SLUGS_MAX or len(set(slugs)) != len(slugs):
        raise InvalidRequest(f"A policy names at most {POLICY_SLUGS_MAX} {part}, each once.", field=field)
    for slug in slugs:
        if not form.fullmatch(slug):
            raise InvalidRequest(f"{slug[:80]!r} is not a slug such as {example!r}.", field=field)


def stored_policy(policy: RoutingPolicy) -> dict[str, object] | None:
    """The policy as what a JSON column holds; `None` for no policy."""
    stored: dict[str, object] | None = None if policy == NO_POLICY else msgspec.to_builtins(policy)
    return stored


def read_policy(stored: Mapping[str, object] | None) -> RoutingPolicy:
    """Read a stored policy back."""
    return NO_POLICY if stored is None else msgspec.convert(stored, RoutingPolicy)


def check_organization_change(before: Organization, after: Organization) -> None:
    """What an organization's books rest on stays as it was created.

    Raises:
        Conflict: the currency or the billing mode would change.
    """
    if after.currency != before.currency:
        raise Conflict(
            f"The ledger of this organization is kept in {before.currency}, so its currency cannot change. "
            f"Create another organization for {after.currency[:3]}.",
            field="currency",
        )
    if after.billing_mode != before.billing_mode:
        raise Conflict(
            f"This organization was created {before.billing_mode} and stays so: its calls were booked that way.",
            field="billing_mode",
        )


def check_usable(project: Project) -> None:
    """New keys and changes go to projects that are not archived.

    Raises:
        Conflict: the project is archived.
    """
    if project.archived_at is not None:
        raise Conflict("This project is archived.", field="project")
