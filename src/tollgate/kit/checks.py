"""Checks: what each slice can prove of its own tables, as SQL that answers what contradicts it and nothing else."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What it means that a check found something."""

    ERROR = "error"
    """The books are not whole."""
    WARNING = "warning"
    """Somebody should look; it can have come about without any damage."""
    NOTE = "note"
    """Worth knowing, and no fault."""


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about the books that either holds for every row of a database or is contradicted by some.

    The SQL reads only. Its rows are the contradictions, of four columns: the organization (or null), what is
    contradicted, in words, what was expected of it, and what was found: amounts, counts or text, null for nothing. It
    may name the parameter `now`.
    """

    name: str
    proves: str
    sql: str
    severity: Severity = Severity.ERROR
