"""What every installation starts with: four providers, the model page of gpt-4.1-mini by hand, and the sandbox."""

from datetime import UTC, datetime

from tollgate.catalog import record, rules, store
from tollgate.catalog.model import DataPolicy, Endpoint, Format, Model, Provider
from tollgate.infra import changes
from tollgate.infra.changes import Act, Action
from tollgate.infra.database import WriteSession
from tollgate.infra.identity import new_id
from tollgate.kit.ids import EndpointId

OPENAI = Provider(
    slug="openai",
    name="OpenAI",
    format=Format.OPENAI,
    base_url="https://api.openai.com/v1",
    credential="env:OPENAI_API_KEY",
    status_page="https://status.openai.com",
)
AZURE = Provider(
    slug="azure",
    name="Azure",
    format=Format.AZURE_OPENAI,
    base_url="env:AZURE_OPENAI_ENDPOINT",
    credential="env:AZURE_OPENAI_API_KEY",
    status_page="https://azure.status.microsoft",
)
ANTHROPIC = Provider(
    slug="anthropic",
    name="Anthropic",
    format=Format.ANTHROPIC,
    base_url="https://api.anthropic.com/v1",
    credential="env:ANTHROPIC_API_KEY",
    status_page="https://status.anthropic.com",
)
SANDBOX = Provider(slug="sandbox", name="Sandbox", format=Format.SANDBOX, base_url=None)

GPT_4_1_MINI = Model(
    slug="openai/gpt-4.1-mini",
    name="GPT-4.1 Mini",
    description=(
        "A mid-sized model with a context of one million tokens: close to GPT-4o in quality, "
        "at a fraction of its latency and cost."
    ),
    input_modalities=("text", "image"),
    output_modalities=("text",),
    tokenizer="o200k_base",
    created_at=datetime(2025, 4, 14, tzinfo=UTC),
)
SANDBOX_ECHO = Model(
    slug="sandbox/echo",
    name="Sandbox Echo",
    description="Served inside the gateway: deterministic answers, exact usage and real prices, without any account.",
    input_modalities=("text",),
    output_modalities=("text",),
    tokenizer="o200k_base",
    created_at=datetime(2026, 11, 1, tzinfo=UTC),
)

_GPT_4_1_MINI_PARAMETERS = (
    "max_completion_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
)


async def seed(session: WriteSession, now: datetime) -> dict[tuple[str, str], EndpointId]:
    """Add what is missing, change nothing that is there; answers the seeded endpoints by (model, provider).

    A provider that an operator deleted stays deleted. Nothing else of it can be: its endpoints have prices.
    """
    await store.lock_catalogue(session)
    added: list[record.Subject] = []
    deleted = await changes.subjects(session, kind="provider", action=Action.DELETED)
    for provider in (OPENAI, AZURE, ANTHROPIC, SANDBOX):
        if provider.slug not in deleted and await store.provider(session, provider.slug) is None:
            await store.add_provider(session, provider)
            added.append(provider)
    for model in (GPT_4_1_MINI, SANDBOX_ECHO):
        rules.check_model(model)
        if await store.model(session, model.slug) is None:
            await store.add_model(session, model)
            added.append(model)
    seeded = {}
    for endpoint in _endpoints(now):
        rules.check_endpoint(endpoint)
        present = await store.endpoint_of(session, model=endpoint.model, provider=endpoint.provider)
        if present is None:
            await store.add_endpoint(session, endpoint)
            added.append(endpoint)
        seeded[endpoint.model, endpoint.provider] = (present or endpoint).id
    await record.created(session, added, act=Act(now))
    return seeded


def _endpoints(now: datetime) -> tuple[Endpoint, ...]:
    return (
        _gpt_4_1_mini(OPENAI, DataPolicy(training=False, logging="30 days", moderation="developer"), now),
        _gpt_4_1_mini(AZURE, DataPolicy(training=False, logging="zero", moderation="developer"), now),
        Endpoint(
            id=EndpointId(new_id(now)),
            model=SANDBOX_ECHO.slug,
            provider=SANDBOX.slug,
            upstream_model="echo",
            context_length=128_000,
            max_output=16_384,
            protocols=("openai", "anthropic"),
            supported_parameters=("max_completion_tokens", "temperature", "top_p", "seed", "stop"),
            data_policy=DataPolicy(training=False, logging="zero", moderation="developer"),
            supports_cancel=True,
            enabled=True,
        ),
    )


def _gpt_4_1_mini(provider: Provider, data_policy: DataPolicy, now: datetime) -> Endpoint:
    return Endpoint(
        id=EndpointId(new_id(now)),
        model=GPT_4_1_MINI.slug,
        provider=provider.slug,
        upstream_model="gpt-4.1-mini",
        context_length=1_047_576,
        max_output=32_768,
        protocols=("openai", "anthropic"),
        supported_parameters=_GPT_4_1_MINI_PARAMETERS,
        data_policy=data_policy,
        supports_cancel=True,
        enabled=True,
    )
