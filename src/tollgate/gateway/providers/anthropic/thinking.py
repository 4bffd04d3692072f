"""How much Anthropic is to think, and what its thinking leaves room for.

Wire format: https://platform.claude.com/docs/en/build-with-claude/extended-thinking
"""

from collections.abc import Mapping
from typing import Any

from tollgate.gateway import efforts
from tollgate.gateway.neutral import Conversation, Thinking
from tollgate.kit.errors import InvalidRequest

BUDGET_LEAST = 1_024
"""Thinking on less is refused; and an answer has to be allowed more than its thoughts."""

_EFFORTS: Mapping[str, str] = {"minimal": "low"}
"""What Anthropic calls an effort, where it has another word."""
_TOP_P_LEAST = 0.95


def budget(wanted: Thinking | None) -> int | None:
    """The tokens to think on; `None` if no thinking is asked for.

    Raises:
        InvalidRequest: the effort is not one that there is.
    """
    if wanted is None or wanted.is_off:
        return None
    if wanted.budget_tokens is not None:
        return max(wanted.budget_tokens, BUDGET_LEAST)
    if wanted.effort is None:
        return None
    if wanted.effort not in efforts.BUDGETS:
        raise InvalidRequest(f"There is no effort {wanted.effort[:100]!r}.", field="reasoning")
    return efforts.BUDGETS[wanted.effort]


def fields(conversation: Conversation, *, limit: int, takes_effort: bool) -> dict[str, Any]:
    """The fields by which thinking is asked for, where the answer may have `limit` tokens.

    Models that choose their thinking themselves refuse a budget and are told an effort; the catalogue says which do.

    Raises:
        InvalidRequest: the limit the client gave leaves no room to think, or another setting forbids it.
    """
    wanted, tokens = conversation.reasoning, budget(conversation.reasoning)
    if wanted is None or tokens is None:
        return {"thinking": {"type": "disabled"}} if wanted is not None and wanted.is_off else {}
    shown = {} if wanted.shown is None else {"display": "summarized" if wanted.shown else "omitted"}
    if takes_effort:
        _check(conversation)
        return {"thinking": {"type": "adaptive", **shown}, "output_config": {"effort": _effort(wanted)}}
    if limit <= BUDGET_LEAST:
        if conversation.max_tokens is not None and conversation.max_tokens <= BUDGET_LEAST:
            raise InvalidRequest(f"To think, an answer needs more than {BUDGET_LEAST} tokens.", field="max_tokens")
        # What the caller's funds still buy is too short to think in, but not too short to answer in.
        return {}
    _check(conversation)
    # An effort is a wish, and at least half of the room is the answer's; a budget is an order.
    room = limit - 1 if wanted.budget_tokens is not None else max(limit // 2, BUDGET_LEAST)
    return {"thinking": {"type": "enabled", "budget_tokens": min(tokens, room), **shown}}


def _check(conversation: Conversation) -> None:
    """Refuse the settings that a thinking model refuses, by their names."""
    choice = conversation.tool_choice
    contradicting = (
        ("temperature", conversation.temperature not in {None, 1}),
        ("top_k", conversation.top_k is not None),
        ("top_p", conversation.top_p is not None and conversation.top_p < _TOP_P_LEAST),
        ("tool_choice", choice is not None and choice.mode in {"required", "named"}),
    )
    for name, contradicts in contradicting:
        if contradicts:
            raise InvalidRequest(f"Anthropic's models cannot think under this {name}; leave it out.", field=name)


def _effort(wanted: Thinking) -> str:
    """The effort asked for, or the one that a budget amounts to."""
    if wanted.effort is not None:
        return _EFFORTS.get(wanted.effort, wanted.effort)
    return efforts.effort_of(wanted.budget_tokens or 0)
