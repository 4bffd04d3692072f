"""What may be said of an organization, a project and their limits, and what may still change later."""

import re
import unicodedata

from tollgate.accounts.model import Organization, Project
from tollgate.kit.errors import Conflict, InvalidRequest

NAME_CHARACTERS_MAX = 200
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
    """An organization has a proper name, an ISO 4217 currency code and no negative credit limit.

    Raises:
        InvalidRequest: it has not; `field` names the part.
    """
    check_name(organization.name)
    if not _CURRENCY.fullmatch(organization.currency):
        raise InvalidRequest("A currency is a code of three capital letters, such as USD.", field="currency")
    if organization.credit_limit is not None and organization.credit_limit < 0:
        raise InvalidRequest("A credit limit cannot be below zero.", field="credit_limit")


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
