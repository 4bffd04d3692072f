"""Other people's gateways answer in front of a provider, or say why they do not, and leave nothing behind."""

import asyncio
import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from scripts.benchmarks.contestants import Contestant, NotStarted, Served
from scripts.benchmarks.opponents import OPPONENTS
from scripts.benchmarks.opponents.litellm import LITELLM_WITH_DATABASE
from scripts.benchmarks.opponents.portkey import PORTKEY
from scripts.benchmarks.opponents.serving import call, serving

CALLS = 5
CPU = min(os.sched_getaffinity(0))
ROWS_SECONDS_MAX = 100


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers any call, each with an id of its own."""

    protocol_version = "HTTP/1.1"
    numbers = count()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        said = {"id": f"chatcmpl-{next(self.numbers)}", "object": "chat.completion", "created": 1, "model": "any"}
        text = json.dumps(said | {"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has
        pass


@pytest.fixture(scope="module")
def provider_url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def commands(scratch: Path) -> list[bytes]:
    """Of the processes that know of a directory."""
    told = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told.append((process / "cmdline").read_bytes() + (process / "cwd").readlink().as_posix().encode())
        except OSError:
            continue
    return [command for command in told if str(scratch).encode() in command]


def test_one_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served = Served("http://127.0.0.1:9/v1", {}, "any", os.getpid())
    with serving(["/bin/sh", "-c", "echo no licence; exit 3"], {}, cpu=CPU, scratch=tmp_path) as gateway:
        gateway.process.wait()
        with pytest.raises(NotStarted, match=r"exit code 3: no licence"):
            gateway.answering(lambda: call(served))
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(NotStarted, match=r"no `node` on the PATH: install Node\.js"),
        PORTKEY.running("http://x/v1", CPU),
    ):
        pass


@pytest.mark.long
def test_everything_that_one_started_ends_with_it(tmp_path: Path) -> None:
    with serving(["/bin/sh", "-c", "sleep 60 & sleep 60"], {}, cpu=CPU, scratch=tmp_path) as gateway:
        assert os.sched_getaffinity(gateway.process.pid) == {CPU}
        assert commands(tmp_path)
    assert commands(tmp_path) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("opponent", OPPONENTS, ids=lambda opponent: opponent.name)
def test_each_is_installed_answers_and_leaves_nothing(
    opponent: Contestant, provider_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with opponent.running(provider_url, CPU) as served:
        for _ in range(CALLS):
            call(served)
    assert list(tmp_path.iterdir()) == []
    assert commands(tmp_path) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_one_with_a_database_writes_a_row_a_call(provider_url: str) -> None:
    async def rows(url: str) -> int:
        connection = await asyncpg.connect(url)
        counted: int = await connection.fetchval('SELECT count(*) FROM "LiteLLM_SpendLogs"')
        await connection.close()
        return counted

    with LITELLM_WITH_DATABASE.running(provider_url, CPU) as served:
        for _ in range(CALLS):
            call(served)
        variables = Path(f"/proc/{served.pid}/environ").read_text().split("\0")
        (url,) = [value.partition("=")[2] for value in variables if value.startswith("DATABASE_URL=")]
        deadline = time.monotonic() + ROWS_SECONDS_MAX
        while (counted := asyncio.run(rows(url.replace("@localhost/", "@/")))) < CALLS + 1:
            assert time.monotonic() < deadline, f"{counted} rows"
            time.sleep(1)
    assert counted == CALLS + 1, "one of them was to see whether it answers"
