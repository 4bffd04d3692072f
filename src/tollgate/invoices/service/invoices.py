"""Use cases of invoices: look at a draft, close a month, explain a line down to its calls.

Closing is one transaction: cut the records, sum them by price, round once, post to the ledger, number, insert.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.agreements import service as agreements
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import NO_TERMS, Adjustments, Contribution, Heading, Invoice, Month, Terms, Usage, Window
from tollgate.invoices.rules import agreed, closing, document, lines, telling, voiding, windows
from tollgate.invoices.service import unpriced
from tollgate.invoices.store import agreed as agreed_store
from tollgate.invoices.store import invoices as store
from tollgate.kit.errors import InvalidRequest, NotFound
from tollgate.kit.ids import CallId, InvoiceId, OrganizationId
from tollgate.ledger import service as ledger
from tollgate.metering import service as metering
from tollgate.metering.model import BilledLine, BilledUsage
from tollgate.metering.sums import Position
from tollgate.webhooks import service as webhooks

_SAME_MILLISECOND_MAX = 100
"""More organizations than this are not created within a millisecond."""


async def close(session: WriteSession, *, organization_id: OrganizationId, month: Month, now: datetime) -> Invoice:
    """Issue the organization's invoice of the month; if that happened before, answer the invoice as it is.

    A month may be closed from its first instant on, by decision of the operator; what is used or recorded later goes
    on the next invoice as late usage.

    Raises:
        NotFound: there is no such organization.
        NothingToInvoice: there is no usage, no charge, and nothing was agreed.
        Conflict: the month has not begun, an earlier one must be closed first, or some usage has no price.
    """
    organization = await accounts.get_organization(session, organization_id)
    issued = await store.invoice_of(session, organization, month)
    if issued is None:
        # The cut takes the organization's lock: of several closes at once, the others find the invoice of the first.
        cut = await metering.cut_records(session, organization_id=organization_id)
        issued = await store.invoice_of(session, organization, month)
        if issued is None:
            drafted = await _closable(session, organization=organization, month=month, cut=cut, now=now)
            issued = await _issue(session, drafted, now=now)
    return issued


async def _closable(
    session: WriteSession, *, organization: Organization, month: Month, cut: int, now: datetime
) -> Invoice:
    last = await _last(session, organization)
    closing.check_may_close(organization, month, last, now)
    window = windows.window(organization, month, last, cut)
    terms = await _terms(session, organization, last)
    dues = agreed.are_due_between(terms, windows.first_open(organization, last), month)
    position = await metering.position(session, organization_id=organization.id)
    closing.check_nothing_skipped(month, await _skipped(session, organization, window, position), dues=dues)
    drafted = await _draft(session, organization, month, window, terms, position)
    invoice = voiding.revised(drafted, (await store.voided_months(session, organization))[month])
    closing.check_billable(invoice)
    return invoice


async def _terms(session: ReadSession, organization: Organization, last: Heading | None) -> Terms:
    billing, issuer = await agreements.parties(session, organization_id=organization.id)
    terms = Terms(
        billing=billing,
        issuer=issuer,
        agreements=await agreements.all_of(session, organization_id=organization.id),
        open_from=windows.first_open(organization, last),
    )
    if not terms.agreements:
        return terms
    return replace(terms, invoiced=await agreed_store.invoiced(session, organization_id=organization.id))


async def _issue(session: WriteSession, drafted: Invoice, *, now: datetime) -> Invoice:
    for grant_id, transfer in closing.favours_used(drafted, now=now):
        await ledger.burn(session, grant_id=grant_id, transfer=transfer)
    for transfer in closing.postings(drafted.heading, now=now):
        await ledger.post(session, transfer)
    await store.add_lines(session, heading=drafted.heading, lines=drafted.lines)
    # The number comes last: until the transaction ends, every other close waits for it.
    serial = await store.next_serial(session, closing.series(now))
    issued = closing.issue(drafted, serial=serial, now=now)
    text = document.write(issued)
    await store.add_invoice(session, heading=issued.heading, document=text)
    for event in telling.of_issue(issued.heading):
        await webhooks.emit(session, event)
    return replace(issued, document=text, terms=NO_TERMS)


async def draft(session: ReadSession, *, organization: Organization, month: Month) -> Invoice:
    """The invoice of an open month as it would be if it were closed now and every earlier month before it."""
    last = await _last(session, organization)
    voided = await store.voided_months(session, organization)
    return await _draft_after(session, organization, month, last, voided)


async def _draft_after(
    session: ReadSession, organization: Organization, month: Month, last: Heading | None, voided: Counter[Month]
) -> Invoice:
    position = await metering.position(session, organization_id=organization.id)
    window = windows.window(organization, month, last, position.cut)
    terms = await _terms(session, organization, last)
    dues = agreed.are_due_between(terms, windows.first_open(organization, last), month)
    if dues or closing.any_in_between(await _skipped(session, organization, window, position)):
        window, terms = windows.after_the_skipped(window), agreed.after_the_skipped(terms)
    return voiding.revised(await _draft(session, organization, month, window, terms, position), voided[month])


async def _last(session: ReadSession, organization: Organization) -> Heading | None:
    return (await store.last_of(session, [(organization.id, organization.currency)])).get(organization.id)


async def _skipped(
    session: ReadSession, organization: Organization, window: Window, position: Position
) -> tuple[BilledUsage, ...]:
    stretch = windows.months_skipped(window)
    if stretch is None:
        return ()
    scope = windows.records(window, stretch)
    usages = await metering.billed_usage(session, organization_id=organization.id, scope=scope, position=position)
    return await unpriced.without_resolved(session, organization.id, scope, usages)


async def _draft(
    session: ReadSession, organization: Organization, month: Month, window: Window, terms: Terms, position: Position
) -> Invoice:
    billed = await _usage_by_origin(session, organization, month, window, position)
    project_ids = {usage.project_id for usage, _ in billed if usage.project_id is not None}
    projects = await accounts.projects_of(session, organization_id=organization.id, project_ids=project_ids)
    usages = [
        Usage(usage, None if usage.project_id is None else projects[usage.project_id].name, origin)
        for usage, origin in billed
    ]
    adjustments = await _adjustments(session, organization, window)
    return await unpriced.settled(session, lines.draft(organization, month, window, usages, adjustments, terms))


async def _adjustments(session: ReadSession, organization: Organization, window: Window) -> Adjustments:
    """The charges that the window covers, and every favour of which something is left.

    A charge is on the next invoice whose period did not end before it was made, in a month that was used or not.
    """
    scope, currency = windows.charges(window), organization.currency
    return Adjustments(
        charges=await ledger.charges(session, organization_id=organization.id, currency=currency, scope=scope),
        favours=await ledger.favours(session, organization_id=organization.id, currency=currency),
    )


async def _usage_by_origin(
    session: ReadSession, organization: Organization, month: Month, window: Window, position: Position
) -> list[tuple[BilledUsage, Month | None]]:
    """The month's own usage, then late usage month by month, backwards for as long as there is any."""
    found: list[tuple[BilledUsage, Month | None]] = []
    origin, stretch = month, window.period
    while True:
        scope = windows.records(window, stretch)
        usages = await metering.billed_usage(session, organization_id=organization.id, scope=scope, position=position)
        found += [(usage, None if origin == month else origin) for usage in usages if not usage.late]
        if not any(usage.late for usage in usages):
            return found
        origin = origin.preceding
        stretch = windows.origin_instants(window, month, origin, organization.zone)


async def get(
    session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId, now: datetime
) -> Invoice:
    """The organization's invoice with this id: issued, or the draft of a month that is open.

    Raises:
        NotFound: the organization has none.
    """
    organization = await accounts.get_organization(session, organization_id)
    return _found(await _invoice(session, organization, invoice_id, now))


async def find(session: ReadSession, *, invoice_id: InvoiceId, now: datetime) -> Invoice:
    """The invoice with this id, whichever organization's it is.

    Raises:
        NotFound: there is none.
    """
    for organization in await _possible_owners(session, invoice_id):
        found = await _invoice(session, organization, invoice_id, now)
        if found is not None:
            return found
    return _found(None)


async def issued(session: ReadSession, *, invoice_id: InvoiceId) -> Heading:
    """The heading of the issued invoice with this id, whichever organization's it is.

    Raises:
        NotFound: there is none; a draft is none.
    """
    for organization in await _possible_owners(session, invoice_id):
        found = await store.heading(session, organization_id=organization.id, invoice_id=invoice_id)
        if found is not None:
            return found
    raise NotFound("No invoice was issued under this id.")


async def find_numbered(session: ReadSession, number: str) -> Invoice:
    """The issued invoice with this number, whichever organization's it is.

    Raises:
        NotFound: there is none.
    """
    return _found(await store.numbered_invoice(session, number))


async def _possible_owners(session: ReadSession, invoice_id: InvoiceId) -> list[Organization]:
    candidates = await accounts.list_organizations(
        session, before=windows.above_organization_of(invoice_id), count=_SAME_MILLISECOND_MAX
    )
    return [organization for organization in candidates if windows.may_be_of(organization.id, invoice_id)]


async def _invoice(
    session: ReadSession, organization: Organization, invoice_id: InvoiceId, now: datetime
) -> Invoice | None:
    issued = await store.invoice(session, organization_id=organization.id, invoice_id=invoice_id)
    if issued is not None:
        return issued
    last, voided = await _last(session, organization), await store.voided_months(session, organization)
    month = _open_month(organization, invoice_id, last, voided, now)
    return None if month is None else await _draft_after(session, organization, month, last, voided)


def _open_month(
    organization: Organization, invoice_id: InvoiceId, last: Heading | None, voided: Counter[Month], now: datetime
) -> Month | None:
    for month in windows.open_months(organization, last, now):
        if windows.invoice_id(organization.id, organization.currency, month, voided[month]) == invoice_id:
            return month
    return None


def _found(invoice: Invoice | None) -> Invoice:
    if invoice is None:
        raise NotFound("There is no such invoice.")
    return invoice


async def current(session: ReadSession, *, organization_id: OrganizationId, now: datetime) -> Invoice:
    """The draft that collects what is used now: of the running month, or of the next one if that is closed already."""
    organization = await accounts.get_organization(session, organization_id)
    month = windows.open_months(organization, await _last(session, organization), now)[-1]
    return await draft(session, organization=organization, month=month)


async def list_invoices(
    session: ReadSession, *, organization_id: OrganizationId, before: InvoiceId | None, count: int
) -> list[Heading]:
    """The organization's issued invoices of periods before that invoice's, newest first."""
    return await store.invoices(session, organization_id=organization_id, before=before, count=count)


async def finalise(session: WriteSession, *, invoice_id: InvoiceId, now: datetime) -> Invoice:
    """Issue the draft with this id; an invoice that was issued is answered as it is.

    Raises:
        NotFound: there is no such invoice.
        NothingToInvoice, Conflict: as `close` does.
    """
    for organization in await _possible_owners(session, invoice_id):
        issued = await store.invoice(session, organization_id=organization.id, invoice_id=invoice_id)
        if issued is not None:
            return issued
        last, voided = await _last(session, organization), await store.voided_months(session, organization)
        month = _open_month(organization, invoice_id, last, voided, now)
        if month is not None:
            return await close(session, organization_id=organization.id, month=month, now=now)
    return _found(None)


async def explain(
    session: ReadSession, *, invoice: Invoice, n: int, after: CallId | None, count: int
) -> list[Contribution]:
    """The calls behind a usage line, oldest first, each with its part: all of them add up to the line's exact amount.

    Raises:
        NotFound: the invoice has no such line.
        InvalidRequest: the line is not of usage.
    """
    if not 1 <= n <= len(invoice.lines):
        raise NotFound("The invoice has no such line.")
    usage = invoice.lines[n - 1].usage
    if usage is None:
        raise InvalidRequest("This line has no calls of its own: all calls are behind the lines of usage.")
    calls = await metering.billed_calls(
        session,
        organization_id=invoice.heading.organization_id,
        scope=windows.records_behind(invoice.heading, usage),
        line=BilledLine(usage.project_id, usage.model, usage.kind, usage.tier, usage.price_version_id),
        after=after,
        limit=count,
    )
    return [lines.contribution(usage, call) for call in calls]


async def due_months(
    session: ReadSession, *, organizations: Sequence[Organization], now: datetime, grace: timedelta
) -> list[tuple[Organization, list[Month]]]:
    """The months that are over, grace included, and wait for their invoice: of each organization, oldest first.

    Voiding an invoice begins the grace anew: time to put right what was wrong with it.
    """
    voided = await store.voided_since(session, [organization.id for organization in organizations], since=now - grace)
    organizations = [organization for organization in organizations if organization.id not in voided]
    last = await store.last_of(session, [(organization.id, organization.currency) for organization in organizations])
    due = [
        (organization, windows.due_months(organization, last.get(organization.id), now=now, grace=grace))
        for organization in organizations
    ]
    over = [
        windows.open_time(organization, months[-1], last.get(organization.id)) for organization, months in due if months
    ]
    used = await metering.organizations_with_usage(session, over) if over else set()
    used |= await ledger.organizations_with_charges(session, windows.open_charges(over)) if over else set()
    used |= await agreements.organizations_with_dues(
        session,
        [windows.dues(organization, months, last.get(organization.id)) for organization, months in due if months],
    )
    return [(organization, months) for organization, months in due if months and organization.id in used]
