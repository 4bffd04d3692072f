"""What a printed document shows: text only, in the order it is read. Whoever sets it in type decides nothing more.

A paper is made of a stored document and of nothing else, so it says the same for ever.
"""

from datetime import date
from typing import Literal, TypeAlias

from msgspec import Struct

Han: TypeAlias = Literal["SC", "TC", "HK", "JP", "KR"]
"""Where Chinese characters are written as here: mainland China, Taiwan, Hong Kong, Japan, Korea."""


class Party(Struct, frozen=True):
    """The one who invoices, or the one who is invoiced: a name, and what is written below it."""

    name: str
    lines: tuple[str, ...] = ()


class Fact(Struct, frozen=True):
    """One of the facts beside the addresses, such as the date of issue."""

    label: str
    value: str


class Sum(Struct, frozen=True):
    """An amount before rounding, as it was charged, and in whole minor units, as it is due."""

    exact: str
    amount: str


class Row(Struct, frozen=True):
    """One line of the document. What it lacks is empty."""

    n: str
    what: str
    quantity: str
    unit_price: str
    unit: str
    sum: Sum


class Group(Struct, frozen=True):
    """Rows that share a title, such as a model's; without one they stand by themselves."""

    title: str
    rows: tuple[Row, ...]


class Section(Struct, frozen=True):
    """Groups that add up to a subtotal, such as a project's models."""

    title: str
    remark: str
    groups: tuple[Group, ...]
    subtotal: Sum | None
    """`None` where it would repeat the only line."""


class Total(Struct, frozen=True):
    """A sum at the end; the heavy one is what the document comes to."""

    label: str
    sum: Sum
    weight: Literal["light", "plain", "heavy"] = "plain"


class Note(Struct, frozen=True):
    """A text below the sums, in paragraphs."""

    title: str
    paragraphs: tuple[str, ...]


class Paper(Struct, frozen=True):
    """A document to print, whatever its kind."""

    title: str
    """What kind of document it is, such as `Invoice`."""
    number: str
    """Empty for a draft."""
    mark: str
    """What lies across each page of a document that is not valid; empty for one that is."""
    day: date
    """When it was made, for readers of the file; no clock has a say in it."""
    currency: str
    issuer: Party
    customer: Party
    facts: tuple[Fact, ...]
    headline: tuple[Fact, ...]
    """The two or three facts that most readers want to know."""
    sections: tuple[Section, ...]
    totals: tuple[Total, ...]
    notes: tuple[Note, ...]
    attachment: str
    """The name of the file within the file: the document as data."""
    han: Han = "SC"
    """Whose shapes Chinese characters have."""
