"""What a customer can pay for bounds the answer; who cannot pay for a useful one is refused before the provider."""

from decimal import Decimal
from typing import Any

import openai
import pytest
from tests.gateway.fake_provider import whole
from tests.gateway.installation import MESSAGES, Installation


async def test_too_little_credit_for_the_worst_case_caps_the_answer(gateway: Installation) -> None:
    customer, model = await gateway.customer(grant="0.01"), await gateway.model(whole())
    answer = await customer.ask(model)
    assert answer.status_code == 200
    cap = int(answer.headers["x-tollgate-max-tokens"])
    [served] = gateway.provider.served[-1:]
    assert served.json["max_tokens"] == cap
    assert 6_240 < cap <= 6_250
    lower = await customer.ask(model, max_tokens=20_000)
    assert gateway.provider.served[-1].json["max_tokens"] == int(lower.headers["x-tollgate-max-tokens"]) < 20_000
    free = await customer.ask(model, max_tokens=300)
    assert "x-tollgate-max-tokens" not in free.headers
    assert gateway.provider.served[-1].json["max_tokens"] == 300


async def test_several_answers_share_the_cap(gateway: Installation) -> None:
    customer, model = await gateway.customer(grant="0.01"), await gateway.model(whole())
    await customer.ask(model, n=4)
    assert gateway.provider.served[-1].json["max_tokens"] in range(1_559, 1_563)


async def test_a_cap_never_exceeds_what_the_endpoint_gives(gateway: Installation) -> None:
    customer, model = (
        await gateway.customer(grant="0.05"),
        await gateway.model(whole(), max_output=1_000, prices={"prompt": "1", "completion": "40"}),
    )
    await gateway.endpoint(
        model, f"{model[5:]}-big", whole(), prices={"prompt": "2", "completion": "50"}, max_output=2_000
    )
    answer = await customer.ask(model, provider={"order": [f"{model[5:]}-0"]})
    assert int(answer.headers["x-tollgate-max-tokens"]) <= 1_000
    assert gateway.provider.served[-1].json["max_tokens"] <= 1_000


async def test_one_limit_beside_another_buys_no_more_than_is_held(gateway: Installation) -> None:
    customer, model = await gateway.customer(grant="0.01"), await gateway.model(whole())
    answer = await customer.ask(model, max_completion_tokens=1, max_tokens=30_000)
    cap = int(answer.headers["x-tollgate-max-tokens"])
    sent = gateway.provider.served[-1].json
    assert (sent["max_tokens"], "max_completion_tokens" in sent) == (cap, False)
    assert cap <= 6_250


async def test_too_little_credit_for_a_useful_answer_is_refused(gateway: Installation) -> None:
    customer, model = await gateway.customer(grant="0.0004"), await gateway.model(whole())
    with pytest.raises(openai.APIStatusError) as refused:
        await customer.client.chat.completions.create(model=model, messages=MESSAGES)
    body: Any = refused.value.body
    assert (refused.value.status_code, body["type"]) == (402, "insufficient_credit")
    assert body["metadata"]["available"] == "0.0004"
    assert not gateway.provider.served_by(f"{model[5:]}-0")
    assert await customer.is_untouched()
    assert (await customer.ask(model, max_tokens=100)).status_code == 200


async def test_without_any_credit_only_what_is_free_is_served(gateway: Installation) -> None:
    customer = await gateway.customer(grant=None)
    free = await gateway.model(whole(), prices={"prompt": "0", "completion": "0"})
    assert (await customer.ask(free)).json()["usage"]["cost"] == 0
    assert (await customer.ask(await gateway.model(whole()))).status_code == 402


async def test_a_provider_that_ignores_the_cap_is_charged_in_full_and_shown(gateway: Installation) -> None:
    """The hold covers 256 tokens; the provider writes 300 and reads a thousand."""
    customer, model = await gateway.customer(grant="0.0005"), await gateway.model(whole())
    answer = await customer.ask(model)
    assert "x-tollgate-max-tokens" in answer.headers
    call = await customer.call()
    assert (call["status"], call["amount"]) == ("settled", Decimal("0.00082"))
    assert call["overrun_amount"] >= Decimal("0.00032")
    assert await customer.balance() == 0
    assert await customer.held() == 0
    assert (await customer.ask(model)).status_code == 402


async def test_a_file_is_held_for_at_its_most_and_no_longer_than_the_context(gateway: Installation) -> None:
    """300 kB of pages could be 2.4 million tokens, but not where the context holds 10,000."""
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "JVBERi0x" * 50_000}}
    asked: Any = {"messages": [{"role": "user", "content": [file]}], "max_tokens": 300}
    customer, known = await gateway.customer(grant="0.02"), await gateway.model(whole(), context_length=10_000)
    assert (await customer.ask(known, **asked)).status_code == 200
    assert (await customer.call())["overrun_amount"] == 0
    assert (await customer.ask(await gateway.model(whole()), **asked)).status_code == 402
