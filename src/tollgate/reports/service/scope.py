"""What a report is about, made certain before anything is read: its zone, its window, and the ids it names."""

from zoneinfo import ZoneInfo

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.infra.database import ReadSession
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import OrganizationId
from tollgate.reports import rules
from tollgate.reports.model import Asked, Filters
from tollgate.reports.store import scope as store


def zone_of(asked: Asked, organization: Organization) -> ZoneInfo:
    """The zone the request names, else the organization's own.

    Raises:
        InvalidRequest: there is no such zone.
    """
    return rules.named_zone(asked.timezone, default=organization.zone)


async def require_own(session: ReadSession, *, organization_id: OrganizationId, filters: Filters) -> None:
    """Refuse to filter by what the organization does not have: an empty report would look like no usage.

    Raises:
        NotFound: a project or key is unknown, or another organization's.
    """
    if filters.project:
        projects = await accounts.projects_of(session, organization_id=organization_id, project_ids=filters.project)
        if not projects.keys() >= set(filters.project):
            raise NotFound("There is no such project.")
    if filters.key:
        keys = await store.own_keys(session, organization_id=organization_id, key_ids=filters.key)
        if not keys >= set(filters.key):
            raise NotFound("There is no such key.")
