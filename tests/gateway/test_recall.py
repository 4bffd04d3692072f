"""Recall: a text is counted once for each organization and encoding, and those that nobody sends are forgotten."""

from uuid import UUID

from tollgate.gateway.recall import Recall
from tollgate.kit.ids import OrganizationId

ONE, OTHER = OrganizationId(UUID(int=1)), OrganizationId(UUID(int=2))


def test_a_text_is_found_by_whose_it_is_and_how_it_was_counted() -> None:
    recall = Recall()
    mine = recall.of(ONE, "o200k_base")
    recall.keep(mine.digest(b"a text"), 2)
    assert recall.find(recall.of(ONE, "o200k_base").digest(b"a text")) == 2
    others = [recall.of(OTHER, "o200k_base").digest(b"a text"), recall.of(ONE, "cl100k_base").digest(b"a text")]
    assert [recall.find(digest) for digest in [*others, mine.digest(b"a text ")]] == [None] * 3


def test_what_was_not_sent_for_longest_is_forgotten_first() -> None:
    recall = Recall(texts_max=2)
    recall.keep(b"1", 1)
    recall.keep(b"2", 2)
    assert recall.find(b"1") == 1
    recall.keep(b"3", 3)
    assert [recall.find(digest) for digest in (b"1", b"2", b"3")] == [1, None, 3]
    recall.keep(b"3", 3)
    assert recall.find(b"1") == 1
