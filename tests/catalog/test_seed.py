"""The seed is the model page of the issue, and is sown once."""

from sqlalchemy import text

from tollgate.catalog import seed, service
from tollgate.catalog.model import DataPolicy
from tollgate.catalog.rules import base_url_of, credential_of, is_routable
from tollgate.infra.database import Database
from tollgate.kit.clock import FixedClock


async def test_the_seed_model_has_its_two_endpoints_as_the_model_page_gives_them(
    database: Database, clock: FixedClock
) -> None:
    async with database.write() as session:
        await seed.seed(session, clock.now())
    async with database.read() as session:
        catalogue = await service.load_catalogue(session)

    model = catalogue.models["openai/gpt-4.1-mini"]
    azure, openai = catalogue.endpoints_of(model.slug)
    assert model.author == "openai"
    assert model.input_modalities == ("text", "image")
    assert (azure.provider, azure.data_policy) == ("azure", DataPolicy(False, "zero", "developer"))  # noqa: FBT003 - the policy's own order
    assert (openai.provider, openai.data_policy) == ("openai", DataPolicy(False, "30 days", "developer"))  # noqa: FBT003 - as above
    for endpoint in (azure, openai):
        assert (endpoint.context_length, endpoint.max_output) == (1_047_576, 32_768)
        assert endpoint.protocols == ("openai", "anthropic")
        assert len(endpoint.supported_parameters) == 14


async def test_seeding_again_changes_nothing(database: Database, clock: FixedClock) -> None:
    async with database.write() as session:
        first = await seed.seed(session, clock.now())
    async with database.read() as session:
        before = await service.load_catalogue(session)
    async with database.write() as session:
        assert await seed.seed(session, clock.now()) == first
    async with database.read() as session:
        assert await service.load_catalogue(session) == before


async def test_the_whole_catalogue_is_what_its_parts_are(database: Database, clock: FixedClock) -> None:
    async with database.write() as session:
        await seed.seed(session, clock.now())
    async with database.read() as session:
        await session.execute(text("SET LOCAL TIME ZONE 'Asia/Kathmandu'"))
        whole = await service.load_catalogue(session)

        models = await service.list_models(session, after=None, count=100)
        providers = await service.list_providers(session, after=None, count=100)
        assert whole.models == {model.slug: model for model in models}
        assert whole.providers == {provider.slug: provider for provider in providers}
        for shelf in whole.endpoints.values():
            for endpoint in shelf:
                assert await service.get_endpoint(session, endpoint.id) == endpoint


async def test_an_empty_catalogue_can_be_loaded(database: Database) -> None:
    async with database.read() as session:
        whole = await service.load_catalogue(session)

    assert (whole.models, whole.providers, whole.endpoints) == ({}, {}, {})


def test_only_the_sandbox_can_be_called_from_an_empty_environment() -> None:
    providers = (seed.OPENAI, seed.AZURE, seed.ANTHROPIC, seed.SANDBOX)

    assert [provider.slug for provider in providers if is_routable(provider, {})] == ["sandbox"]


def test_azure_needs_both_its_key_and_its_endpoint() -> None:
    key, endpoint = {"AZURE_OPENAI_API_KEY": "k"}, {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/"}

    assert not is_routable(seed.AZURE, key)
    assert not is_routable(seed.AZURE, endpoint)
    assert is_routable(seed.AZURE, key | endpoint)
    assert credential_of(seed.AZURE, key) == "k"
    assert base_url_of(seed.AZURE, endpoint) == "https://mine.openai.azure.com"
