"""Somebody opens a model's page, copies a sample, puts their key in, and has an answer: from the page as served."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.conftest import copied
from tests.console.reading import Page
from tests.stories.serving import Served, serving

ANSWER = "What is the meaning of life?"
"""What sandbox/echo says to the question of every sample."""


@pytest.fixture(scope="module")
def served(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(copied(migrated, tmp_path_factory.mktemp("data"))) as group:
        yield group


@pytest.fixture(scope="module")
def page(served: Served) -> Page:
    origin = served.base_url.removesuffix("/api/v1")
    answer = httpx.get(f"{origin}/models/sandbox/echo", headers={"Accept": "text/html"}, trust_env=False)
    assert answer.status_code == 200
    return Page(answer.text)


def prints(served: Served, page: Page, sample: str, *interpreter: str) -> str:
    """What a sample prints once the reader's own key is in it."""
    assert served.keys is not None
    program = page.texts_by_id[f"code-{sample}"]
    assert served.base_url in program
    ran = subprocess.run(
        [*interpreter, program.replace("sk-tg-…", served.keys.inference)],
        capture_output=True, text=True, check=False, timeout=60, env={"PATH": "/usr/bin:/bin", "NO_PROXY": "*"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("sample", ["python", "openai-python"])
def test_in_python(served: Served, page: Page, sample: str) -> None:
    assert prints(served, page, sample, sys.executable, "-c").strip() == ANSWER


def test_in_a_shell(served: Served, page: Page) -> None:
    assert f'"content":"{ANSWER}"' in prints(served, page, "curl", "bash", "-euc")


def test_the_page_shows_what_the_sandbox_costs(page: Page) -> None:
    assert "Input $1 /M tokens Output $2 /M tokens Cache read $0.1 /M tokens" in page.text
    assert "Latency -" in page.text
