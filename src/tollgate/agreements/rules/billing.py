"""How an organization and the issuer may be addressed, and what tax on an amount comes to."""

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction

from tollgate.agreements.model import CHARGED, Address, BillingDetails, Issuer, TaxId, TaxTerms, TaxTreatment
from tollgate.kit import money
from tollgate.kit.errors import InvalidRequest

LINE_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 2000
ADDRESS_LINES_MAX = 4
TAX_IDS_MAX = 5
TERM_DAYS_MAX = 365
RATE_DECIMALS = 4

REVERSE_CHARGE_NOTE = "Reverse charge: the recipient of the service owes the tax."

COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA
    CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA
    GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS
    MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS
    RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW
    TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905 - a list of strings would take a page
)
"""The codes of ISO 3166-1 alpha-2."""

_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@.]+(\.[^\s@.]+)+")
_TAX_ID_TYPE = re.compile(r"[a-z][a-z0-9_]{1,29}")
_TAX_ID_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./-]{0,39}")
_EMAIL_CHARACTERS_MAX = 254


def check_details(details: BillingDetails) -> None:
    """What an invoice may say of its customer, its terms and its tax.

    Raises:
        InvalidRequest: it may not; `field` is the path of the part.
    """
    check_line(details.legal_name, "legal_name")
    if details.address is not None:
        _check_address(details.address)
    _check_tax_ids(details.tax_ids)
    _check_email(details.email)
    check_line(details.purchase_order, "purchase_order")
    _check_text(details.notes, "notes")
    if not 0 <= details.term_days <= TERM_DAYS_MAX:
        raise InvalidRequest(f"An invoice is due within 0 to {TERM_DAYS_MAX} days.", field="term_days")
    _check_tax(details.tax)
    if details.tax.treatment is TaxTreatment.REVERSE_CHARGE and not details.tax_ids:
        raise InvalidRequest("Under reverse charge an invoice names the customer's tax id.", field="tax_ids")


def check_issuer(issuer: Issuer) -> None:
    """What an invoice may say of whom it is from.

    Raises:
        InvalidRequest: it may not; `field` is the path of the part.
    """
    check_line(issuer.name, "name")
    _check_address(issuer.address)
    _check_tax_ids(issuer.tax_ids)
    check_line(issuer.registration, "registration")
    _check_email(issuer.email)
    _check_text(issuer.instructions, "instructions")


def check_line(text: str | None, field: str) -> None:
    """A line of text, where there is one, is neither blank nor long, and holds no control characters.

    Raises:
        InvalidRequest: it is not so.
    """
    if text is None:
        return
    _check_characters(text, field, LINE_CHARACTERS_MAX, allowed="")


def _check_text(text: str | None, field: str) -> None:
    if text is not None:
        _check_characters(text, field, TEXT_CHARACTERS_MAX, allowed="\n")


def _check_characters(text: str, field: str, most: int, *, allowed: str) -> None:
    if not text.strip():
        raise InvalidRequest(f"{field} cannot be blank.", field=field)
    if len(text) > most:
        raise InvalidRequest(f"{field} has at most {most} characters.", field=field)
    if any(unicodedata.category(each) in {"Cc", "Cs"} and each not in allowed for each in text):
        raise InvalidRequest(f"{field} cannot contain control characters.", field=field)


def _check_address(address: Address) -> None:
    if not 1 <= len(address.lines) <= ADDRESS_LINES_MAX:
        raise InvalidRequest(f"An address has 1 to {ADDRESS_LINES_MAX} lines.", field="address.lines")
    for line in address.lines:
        check_line(line, "address.lines")
    check_line(address.city, "address.city")
    if address.postal_code:  # some countries have none
        check_line(address.postal_code, "address.postal_code")
    if address.country not in COUNTRIES:
        raise InvalidRequest(
            f"{address.country[:20]!r} is not a country of ISO 3166-1 alpha-2, such as 'DE'.", field="address.country"
        )


def _check_tax_ids(tax_ids: tuple[TaxId, ...]) -> None:
    if len(tax_ids) > TAX_IDS_MAX:
        raise InvalidRequest(f"There are at most {TAX_IDS_MAX} tax ids.", field="tax_ids")
    for tax_id in tax_ids:
        if not _TAX_ID_TYPE.fullmatch(tax_id.type):
            raise InvalidRequest(f"{tax_id.type[:40]!r} is not a type such as 'eu_vat'.", field="tax_ids.type")
        if not _TAX_ID_VALUE.fullmatch(tax_id.value):
            raise InvalidRequest(f"{tax_id.value[:50]!r} is not a tax id such as 'DE123456789'.", field="tax_ids.value")


def _check_email(email: str | None) -> None:
    check_line(email, "email")
    if email is not None and (len(email) > _EMAIL_CHARACTERS_MAX or not _EMAIL.fullmatch(email)):
        raise InvalidRequest(f"{email[:80]!r} is not an e-mail address.", field="email")


def _check_tax(tax: TaxTerms) -> None:
    if not 0 <= tax.rate <= 100 or money.decimals_of(tax.rate) > RATE_DECIMALS:  # noqa: PLR2004 - percent
        raise InvalidRequest(f"A tax rate is 0 to 100 percent with at most {RATE_DECIMALS} decimals.", field="tax.rate")
    if tax.rate and tax.treatment not in CHARGED:
        raise InvalidRequest(
            f"With the treatment {tax.treatment} no tax is charged, so its rate is 0.", field="tax.rate"
        )
    check_line(tax.label, "tax.label")
    check_line(tax.note, "tax.note")


def tax_on(amount: Decimal, tax: TaxTerms, currency: str) -> Decimal:
    """The tax added to a net amount, or contained in a gross one, rounded to the minor unit."""
    rate = Fraction(tax.rate)
    part = {
        TaxTreatment.EXCLUSIVE: rate / 100,
        TaxTreatment.INCLUSIVE: rate / (100 + rate),
    }.get(tax.treatment, Fraction(0))
    return money.from_minor_units(money.to_minor_units(Fraction(amount) * part, currency), currency)


def note_of(tax: TaxTerms) -> str | None:
    """What an invoice says of its tax: the note that was given, or under reverse charge the one it must have."""
    if tax.note is None and tax.treatment is TaxTreatment.REVERSE_CHARGE:
        return REVERSE_CHARGE_NOTE
    return tax.note
