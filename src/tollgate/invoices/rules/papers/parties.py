"""Who is named on a document, and how that is written where they read it."""

import re

from tollgate.invoices.rules.papers import wording
from tollgate.invoices.rules.papers.paper import Han, Party
from tollgate.invoices.rules.papers.reading import Customer, Issuer

_HAN: dict[str, Han] = {"TW": "TC", "HK": "HK", "MO": "HK", "JP": "JP", "KR": "KR"}
_KANA, _HANGUL = re.compile("[\u3041-\u30ff]"), re.compile("[\uac00-\ud7a3]")


def issuer(said: Issuer | None) -> Party:
    """Who invoices; nobody, if the document does not say."""
    if said is None:
        return Party("")
    known = (*wording.address(said.address), *wording.tax_ids(said.tax_ids), said.registration, said.email)
    return Party(said.name, tuple(filter(None, known)))


def customer(said: Customer | None, name: str) -> Party:
    """Who is invoiced: known by that name alone, if the document does not say more."""
    if said is None:
        return Party(name)
    known = (*wording.address(said.address), *wording.tax_ids(said.tax_ids), said.email)
    return Party(said.name, tuple(filter(None, known)))


def han(said: Customer | None, text: str) -> Han:
    """Whose shapes Chinese characters have: of the customer's country, or as the text around them tells."""
    country = said.address.country if said is not None and said.address is not None else None
    if country in _HAN:
        return _HAN[country]
    return "JP" if _KANA.search(text) else "KR" if _HANGUL.search(text) else "SC"
