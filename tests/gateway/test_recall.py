"""Recall: a text is counted once for each organization and encoding, and those that nobody sends are forgotten."""

from uuid import UUID

from tollgate.gateway.recall import Recall
from tollgate.kit.ids import OrganizationId

ONE, OTHER = OrganizationId(UUID(int=1)), OrganizationId(UUID(int=2))


def test_a_text_is_found_by_whose_it_is_and_how_it_was_counted() -> None:
    recall = Recall()
    mine = recall.of(ONE, "o200k_base")
    assert mine.length(b"a text", lambda: 2) == 2
    again = recall.of(ONE, "o200k_base")
    assert (again.find(b"a text"), again.length(b"a text", lambda: 99)) == (2, 2)
    others = [recall.of(OTHER, "o200k_base"), recall.of(ONE, "cl100k_base")]
    assert [mine.find(b"a text "), *(other.find(b"a text") for other in others)] == [None] * 3


def test_what_was_not_sent_for_longest_is_forgotten_first() -> None:
    recall = Recall(texts_max=2)
    recall.keep(b"1", 1)
    recall.keep(b"2", 2)
    assert recall.find(b"1") == 1
    recall.keep(b"3", 3)
    assert [recall.find(digest) for digest in (b"1", b"2", b"3")] == [1, None, 3]
    recall.keep(b"3", 3)
    assert recall.find(b"1") == 1
