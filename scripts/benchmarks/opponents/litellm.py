"""LiteLLM's proxy, with its database and without.

Set up as its documentation recommends for production: one uvicorn worker, `LITELLM_MODE=PRODUCTION`, errors alone in
its log and none in its database, spend written in batches (`proxy_batch_write_at: 60`), ten connections to the
database. With the database it is called by a virtual key that it made, and tracks that key's spend at the prices below:
a row a call, and the key's sum. Rows wait in memory until they are written, so that a kill loses them; calls that the
provider answers with one and the same id share a row. Without the database its master key is the only one, and it
records nothing.

Everything comes from PyPI and npm (`prisma.py`), and nothing is fetched when it starts.
"""

import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scripts.benchmarks.contestants import Contestant, Served
from scripts.benchmarks.group import free_port
from scripts.benchmarks.opponents import prisma, versions
from scripts.benchmarks.opponents.database import database
from scripts.benchmarks.opponents.installing import installed, run
from scripts.benchmarks.opponents.serving import call, post, serving

_PACKAGES = {"litellm[proxy]": versions.LITELLM, "prisma": versions.PRISMA_PYTHON}
_PRICES = {"input_cost_per_token": 0.0000025, "output_cost_per_token": 0.00001}
_SHIPPED = ("MODEL_COST_MAP", "ANTHROPIC_BETA_HEADERS", "AUTOROUTER_PRESETS", "BLOG_POSTS", "POLICY_TEMPLATES")
"""What it would fetch when it starts, and has with it as well."""
_ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    **{f"LITELLM_LOCAL_{what}": "True" for what in _SHIPPED},
}
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")


def _install(directory: Path) -> None:
    run([sys.executable, "-m", "venv", "venv"], directory)
    packages = [f"{name}=={version}" for name, version in _PACKAGES.items()]
    run([_programs(directory) / "python", *_PIP, *packages], directory)


def _programs(directory: Path) -> Path:
    return directory / "venv" / "bin"


@dataclass(frozen=True, slots=True)
class _Books:
    """Where spend is recorded: the topmost process of a PostgreSQL, and what has to be set to get there."""

    pid: int
    environment: Mapping[str, str]


@contextmanager
def _without_database(provider_url: str, cpu: int) -> Iterator[Served]:
    directory = installed("litellm", _PACKAGES, _install)
    with _serving(LITELLM.name, directory, provider_url, cpu, books=None) as served:
        yield served


@contextmanager
def _with_database(provider_url: str, cpu: int) -> Iterator[Served]:
    directory = installed("litellm", _PACKAGES, _install)
    programs = _programs(directory)
    # Inside the other, so that it goes when that is made anew: a part of it is written there.
    engine = installed("litellm/prisma", prisma.PACKAGES, partial(prisma.install, programs=programs))
    with database(prisma.migrations(programs), gateway_cpu=cpu) as its_own:
        # To Prisma an address has a host, even where it is a socket's directory that counts.
        url = its_own.url.replace("@/", "@localhost/", 1)
        told = {"DATABASE_URL": url, "DISABLE_SCHEMA_UPDATE": "true", **prisma.environment(engine, programs)}
        books = _Books(its_own.pid, told)
        with _serving(LITELLM_WITH_DATABASE.name, directory, provider_url, cpu, books=books) as served:
            yield served


@contextmanager
def _serving(name: str, directory: Path, provider_url: str, cpu: int, *, books: _Books | None) -> Iterator[Served]:
    """The proxy in front of the provider; with books it is called by a virtual key."""
    port = free_port()
    master_key = f"sk-{secrets.token_hex(16)}"
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollgate-bench-")))
        config = scratch / "config.yaml"
        # JSON is YAML.
        config.write_text(json.dumps(_config(name, provider_url, master_key)))
        arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(scratch), "LC_ALL": "C.UTF-8", **_ENVIRONMENT}
        environment |= books.environment if books else {}
        command = [str(_programs(directory) / "litellm"), *arguments]
        gateway = stack.enter_context(serving(command, environment, cpu=cpu, scratch=scratch))
        base_url = f"http://127.0.0.1:{port}"
        key = gateway.answering(lambda: _virtual_key(base_url, name, master_key)) if books else master_key
        served = Served(
            base_url=f"{base_url}/v1",
            headers={"authorization": f"Bearer {key}"},
            model=name,
            pid=gateway.process.pid,
            database_pid=books.pid if books else None,
        )
        gateway.answering(lambda: call(served))
        yield served


def _config(model: str, provider_url: str, master_key: str) -> Mapping[str, Any]:
    route = {"model": f"openai/{model}", "api_base": provider_url, "api_key": "sk-nobody-looks-at-it"}
    return {
        "model_list": [{"model_name": model, "litellm_params": {**route, **_PRICES}}],
        "litellm_settings": {"request_timeout": 600, "set_verbose": False},
        "general_settings": {
            "master_key": master_key,
            "proxy_batch_write_at": 60,
            "database_connection_pool_limit": 10,
            "disable_error_logs": True,
        },
    }


def _virtual_key(base_url: str, model: str, master_key: str) -> str:
    made = post(f"{base_url}/key/generate", {"models": [model]}, {"authorization": f"Bearer {master_key}"})
    key: str = made["key"]
    return key


LITELLM = Contestant("litellm", versions.LITELLM, "nothing", _without_database)
LITELLM_WITH_DATABASE = Contestant(
    "litellm-postgres", versions.LITELLM, "a row a call, written seconds after its answer", _with_database
)
