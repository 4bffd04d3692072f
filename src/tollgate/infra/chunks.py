"""Chunks: many rows to insert, cut into as few statements as PostgreSQL takes."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Row = TypeVar("Row")

ROWS_MAX = 2000
"""A statement has at most 32,767 parameters, so rows of up to 16 columns fit."""


def chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in order, `ROWS_MAX` at a time."""
    return (rows[start : start + ROWS_MAX] for start in range(0, len(rows), ROWS_MAX))
