"""The page about webhooks says every type of event, and its sample proves what we sign."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tollgate.infra.migrations import ROOT
from tollgate.webhooks import rules
from tollgate.webhooks.model import EventType

PAGE = (ROOT / "docs" / "webhooks.md").read_text()


def test_every_type_of_event_is_explained_once() -> None:
    rows = re.findall(r"^\| `(\w+\.\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(EventType)


@pytest.fixture(scope="module")
def sample() -> Callable[..., bool]:
    """The function of the page."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(code.strip().splitlines()) <= 11
    scope: dict[str, Any] = {}
    exec(code, scope)  # noqa: S102 - it is ours
    function: Callable[..., bool] = scope["is_from_tollgate"]
    return function


def test_the_sample_believes_what_is_ours_and_recent_and_nothing_else(sample: Callable[..., bool]) -> None:
    now = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - the sample reads the clock, as its readers will
    body, secret, other = b'{"id":"evt_1"}', rules.secret_text(b"1" * 32), rules.secret_text(b"2" * 32)
    header = rules.signature(body, [secret], now=now)

    assert sample(secret, header, body)
    assert sample(secret, rules.signature(body, [other, secret], now=now), body)
    assert not sample(other, header, body)
    assert not sample(secret, header, body + b" ")
    assert not sample(secret, rules.signature(body, [secret], now=now - timedelta(seconds=310)), body)
    for odd in ("", "t=", "t=1", "v1=", f"t={'9' * 12},v1=ä", header.replace("t=", "t=1"), header.partition(",")[2]):
        assert not sample(secret, odd, body)
