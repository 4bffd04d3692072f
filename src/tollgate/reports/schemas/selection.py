"""The query parameters that choose calls, the same for reports and lists."""

from tollgate.infra.web import Body, Instant, parse_id
from tollgate.kit.ids import KeyId, ProjectId
from tollgate.kit.tokens import Kind
from tollgate.reports.model import Asked, Filters


class Selection(Body, kw_only=True, frozen=True):
    """Whose calls, and when: from `start` up to but not including `end`, or in a `month` of the `timezone`."""

    start: Instant | None = None
    end: Instant | None = None
    month: str | None = None
    timezone: str | None = None
    project: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    kind: tuple[Kind, ...] = ()
    user: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()

    def asked(self) -> Asked:
        return Asked(start=self.start, end=self.end, month=self.month, timezone=self.timezone)

    def filters(self) -> Filters:
        return Filters(
            project=tuple(ProjectId(parse_id("prj", text, field="project")) for text in self.project),
            key=tuple(KeyId(parse_id("key", text, field="key")) for text in self.key),
            model=self.model,
            provider=self.provider,
            kind=self.kind,
            user=self.user,
            tag=self.tag,
        )
