"""What an import took models to read and write, before it said that it does not know, is not taken for known."""

import asyncpg
from tests.metering.test_downgrade import down_to

from tollgate.infra import upgrades

BEFORE = """
    INSERT INTO providers (slug, name, format, base_url, regions) VALUES ('p', 'P', 'openai', 'https://p.test', '{}');
    INSERT INTO models (slug, name, description, input_modalities, output_modalities, tokenizer, created_at) VALUES
        ('a/plain', '', '', '{text}', '{text}', 'o200k_base', now()),
        ('a/priced', '', '', '{text,image,audio}', '{text,audio}', 'o200k_base', now()),
        ('a/embed', '', '', '{text}', '{embedding}', 'o200k_base', now()),
        ('a/described', '', '', '{text,image}', '{text}', 'o200k_base', now()),
        ('a/by-hand', '', '', '{text}', '{text}', 'o200k_base', now()),
        ('a/unpriced', '', '', '{text}', '{text}', 'o200k_base', now());
    INSERT INTO endpoints
            (id, model, provider, upstream_model, protocols, supported_parameters, supports_cancel, enabled)
        SELECT gen_random_uuid(), slug, 'p', 'm', '{}', '{}', true, true FROM models;
    INSERT INTO price_versions (id, endpoint_id, service_tier, effective_from, item_count, source, published_at)
        SELECT gen_random_uuid(), id, 'standard', now(), 4,
               CASE model WHEN 'a/by-hand' THEN 'operator' ELSE 'import' END, now()
        FROM endpoints WHERE model <> 'a/unpriced';
    INSERT INTO price_items (price_version_id, position, kind, unit_price, unit, prompt_tokens_from)
        SELECT v.id, i.position, i.kind, 1, 'per_million_tokens', 0
        FROM price_versions AS v JOIN endpoints AS e ON e.id = v.endpoint_id
        CROSS JOIN (VALUES (0, 'prompt'), (1, 'input_audio'), (2, 'input_image'), (3, 'output_audio'))
            AS i (position, kind)
        WHERE i.position = 0 OR e.model = 'a/priced';
"""


async def test_only_what_an_import_wrote_is_forgotten(database_url: str) -> None:
    await down_to(database_url, "0009_recovery")
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(BEFORE)
        await upgrades.upgrade(database_url)
        rows = await connection.fetch("SELECT slug, input_modalities, output_modalities FROM models")
        found = {row["slug"]: (row["input_modalities"], row["output_modalities"]) for row in rows}
        assert found == {
            "a/plain": ([], []),
            "a/priced": ([], []),
            "a/embed": ([], ["embedding"]),
            "a/described": (["text", "image"], []),
            "a/by-hand": (["text"], ["text"]),
            "a/unpriced": (["text"], ["text"]),
        }
        await down_to(database_url, "0009_recovery")
        rows = await connection.fetch(
            "SELECT slug FROM models WHERE input_modalities = '{}' OR output_modalities = '{}'"
        )
        assert rows == []
    finally:
        await connection.close()
