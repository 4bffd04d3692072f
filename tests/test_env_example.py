"""`.env.example` lists the variables there are, with the defaults they have."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from tollgate.catalog import seed
from tollgate.infra import settings
from tollgate.infra.settings import Settings

OF_TESTS = {"TOLLGATE_TEST_DATABASE_URL", "TOLLGATE_TEST_PROCESSES"}


@pytest.fixture(scope="module")
def listed(repository: Path) -> dict[str, str]:
    return dict(re.findall(r"^# ([A-Z_]+)=(.*)$", (repository / ".env.example").read_text(), re.MULTILINE))


def test_every_setting_is_listed_and_nothing_else(listed: dict[str, str]) -> None:
    ours = {settings.PREFIX + field.name.upper() for field in fields(Settings)}

    assert {name for name in listed if name.startswith(settings.PREFIX)} == ours | OF_TESTS


def test_what_is_listed_are_the_defaults(listed: dict[str, str]) -> None:
    configured = settings.read(listed)

    for field in fields(Settings):
        if field.default is not MISSING:
            assert getattr(configured, field.name) == field.default, field.name


def test_what_the_first_providers_need_is_listed(listed: dict[str, str]) -> None:
    providers = (seed.OPENAI, seed.AZURE, seed.ANTHROPIC)
    needed = {text for provider in providers for text in (provider.credential, provider.base_url) if text}

    assert {name.removeprefix("env:") for name in needed if name.startswith("env:")} <= listed.keys()


def test_no_other_variable_is_read_anywhere(listed: dict[str, str], repository: Path) -> None:
    files = [*(repository / "src").rglob("*.py"), *(repository / "migrations").rglob("*.py")]
    files += [path for path in (repository / "scripts").iterdir() if path.is_file()]
    texts = [path.read_text() for path in files]
    named = {name for text in texts for name in re.findall(r"\bTOLLGATE_[A-Z_]*[A-Z]\b", text)}

    assert named <= listed.keys() | {settings.LIFELINE_VARIABLE}
