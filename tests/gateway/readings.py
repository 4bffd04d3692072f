"""What a provider's module reads of the answers in the corpus, and what has to come of it."""

from collections.abc import Iterable

from tests.gateway.corpus import Entry
from tests.gateway.deltas import collected

from tollgate.gateway.model import Answer
from tollgate.gateway.neutral import Completion
from tollgate.gateway.translation import ConversationalProvider


def through(provider: ConversationalProvider, events: Iterable[bytes]) -> tuple[Answer, Completion]:
    """What a stream says of itself and what it means; every event of it is known for one of the format's."""
    reader = provider.reader()
    deltas = []
    for data in events:
        assert reader.look(data)
        deltas += list(reader.deltas(data))
    return reader.answer, collected(deltas)


def check_as_documented(provider: ConversationalProvider, entry: Entry) -> Answer:
    """Check an answer, whole and streamed, against what is expected of it; the whole one as it was read."""
    assert entry.whole is not None
    whole, (streamed, _) = provider.read_answer(entry.whole), through(provider, entry.stream)
    assert whole is not None
    for answer in (whole, streamed):
        assert answer.usage is not None
        assert dict(answer.usage.quantities) == {kind: count for kind, count in entry.quantities.items() if count}
        assert (answer.usage.prompt_known, answer.usage.completion_known, answer.usage.unknown) == (True, True, ())
        assert answer.usage.anomalous is entry.expected["anomalous"]
        assert answer.finish_reason == entry.expected["finish_reason"]
        assert answer.native_finish_reason == entry.expected["native_finish_reason"]
        assert answer.service_tier == entry.expected["service_tier"]
        assert answer.error is None
    assert whole.upstream_id == streamed.upstream_id
    assert whole.text == provider.text_of(entry.stream) == entry.expected["text"]
    return whole
