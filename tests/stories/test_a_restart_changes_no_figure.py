"""Stopping and starting again changes nothing that anybody can read."""

from pathlib import Path

from tests.conftest import copied
from tests.stories.serving import Keys, Served, serving

from tollgate.infra import migrations


def figures(served: Served, keys: Keys, generations: list[str]) -> dict[str, bytes]:
    """Every figure an organization can ask for, as the bytes it gets."""
    paths = [
        "/usage?granularity=15m&group_by=project,key,model,provider,kind",
        "/usage?granularity=day&group_by=model&format=csv",
        "/calls",
        "/credits",
        "/credits/transactions",
        "/invoices/current",
        *(f"/generation?id={generation}" for generation in generations),
    ]
    answers = {path: served.call("GET", path, key=keys.management) for path in paths}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(paths, 200)
    return {path: answer.content for path, answer in answers.items()}


def test_a_restart_changes_no_figure(migrated: Path, tmp_path: Path) -> None:
    with serving(copied(migrated, tmp_path)) as served:
        keys = served.keys
        assert keys is not None
        for number in range(1, 6):
            served.chat(f"Message number {number}.", key=keys.inference, user=f"user-{number % 2}")
        streamed = served.call(
            "POST",
            "/chat/completions",
            key=keys.inference,
            json={"model": "sandbox/echo", "messages": [{"role": "user", "content": "Streamed."}], "stream": True},
        )
        assert streamed.text.endswith("data: [DONE]\n\n")
        generations = [call["id"] for call in served.get("/calls", key=keys.management)["data"]]
        assert len(generations) == 6
        before = figures(served, keys, generations)
        assert served.tollgate("migrate") == {"revision": migrations.head()}

    with serving(tmp_path) as served:
        assert served.keys is None, "keys are made once"
        assert figures(served, keys, generations) == before

        served.chat("One more.", key=keys.inference)
        after = served.get("/usage", key=keys.management)
        assert after["total"]["calls"] == 7
