"""The README is run as it is printed.

Each code block is executed by the shell or interpreter it is for, in the order of the page, against a group that the
page's own command started. Only what a reader would put in is put in: the keys, for `mk-tg-…` and the like, and the
port of the one line `BASE=…` (and of the Python client), because a test must not take 8000 from whoever uses it.
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.stories.serving import lines_until, started

ADDRESS = "http://127.0.0.1:8000"
LOCAL_MODEL = "http://127.0.0.1:8080"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SEPARATOR = "\x1e\n"
SECONDS_MAX = 240

pytestmark = pytest.mark.timeout(SECONDS_MAX)


@dataclass(frozen=True, slots=True)
class Readme:
    """The page, cut into its sections."""

    text: str

    def blocks(self, heading: str, language: str) -> list[str]:
        """The code blocks of a section, of one language."""
        section = re.split(r"^## ", self.text, flags=re.MULTILINE)
        (found,) = [part for part in section if part.startswith(heading + "\n")]
        return [block for name, block in BLOCK.findall(found) if name == language]


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who started Tollgate with the printed command and now follows the page."""

    root: Path
    data_dir: Path
    origin: str
    given: dict[str, str]

    def fills_in(self, text: str) -> str:
        """The text with this reader's keys and port in it."""
        for prefix, key in self.given.items():
            text = text.replace(f"{prefix}-tg-…", key)
        return text.replace(ADDRESS, self.origin)

    def types(self, *blocks: str, says: str = "") -> list[str]:
        """What the terminal shows after each block, in one shell; `says` is what the reader answers to questions."""
        script = "\n".join(["set -euo pipefail; exec 2>&1", *(f"{block}\nprintf '{SEPARATOR}'" for block in blocks)])
        done = subprocess.run(
            ["bash", "-c", self.fills_in(script)], input=says, capture_output=True, text=True, check=False,
            cwd=self.root, env={"PATH": "/usr/bin:/bin", "TOLLGATE_DATA_DIR": str(self.data_dir)}, timeout=SECONDS_MAX,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout.split(SEPARATOR)[:-1]

    def reads(self, path: str) -> Any:
        """What a route answers the management key."""
        headers = {"Authorization": f"Bearer {self.given['mk']}"}
        return httpx.get(f"{self.origin}/api/v1{path}", headers=headers, trust_env=False).json()


@contextmanager
def a_reader(root: Path, data_dir: Path, command: str) -> Iterator[Reader]:
    """A reader who types this command, with a free port, and copies the keys it prints."""
    environment = {"TOLLGATE_DATA_DIR": str(data_dir)}
    line = f"exec env {command.strip()} --port 0"  # a block's last newline would end the command before its port
    with started(["bash", "-c", line], environment, directory=root) as process:
        said = "\n".join(lines_until(process, "}'"))
        origin = re.findall(r"answers at (http://\S+)/api/v1", said)[0]
        keys = dict(zip(("ok", "mk", "sk"), re.findall(r"key +(\w\w-tg-\S+)", said), strict=True))
        yield Reader(root, data_dir, origin, keys)


@pytest.fixture(scope="module")
def readme(repository: Path) -> Readme:
    return Readme((repository / "README.md").read_text())


def in_braces(shown: str) -> Any:
    """The JSON in what a terminal shows."""
    return json.loads(shown[shown.index("{") : shown.rindex("}") + 1])


def prints(program: str) -> str:
    """What a program of the README prints."""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_five_calls_lead_from_a_key_to_an_invoice(readme: Readme, repository: Path, tmp_path: Path) -> None:
    serve, test = readme.blocks("Two commands", "sh")[0].splitlines()
    assert test.startswith("./scripts/test ")
    variables, *calls = readme.blocks("From a key to an invoice in five calls", "sh")
    openai_client, anthropic_client = readme.blocks("The client you have", "python")

    with a_reader(repository, tmp_path, serve.partition("#")[0]) as reader:
        _, key, call, generation, usage, invoice, closed = reader.types(variables, *calls)

        minted = in_braces(key)
        assert minted["data"]["limits"]["monthly"] == "20"
        answer = in_braces(call)
        assert answer["choices"][0]["message"]["content"] == "Hello, Tollgate!"
        promised = readme.blocks("From a key to an invoice in five calls", "text")[0]
        for figure in promised.strip().strip("}").split("[")[0].split(" … "):
            assert figure.strip(", ") in call
        assert in_braces(generation)["data"]["charge"]["amount"] == "0.000022"
        assert f"x-generation-id: {in_braces(generation)['data']['id']}" in call.lower()
        (row,) = in_braces(usage)["data"]
        assert (row["calls"], row["amount"]) == (1, "0.000022")
        assert (row["model"], row["key"]) == ("sandbox/echo", minted["data"]["id"])
        draft = in_braces(invoice)["data"]
        assert (draft["status"], draft["subtotal_exact"], draft["total_exact"]) == ("draft", "0.000022", "0")
        assert re.search(r"TG-\d{4}-000001", closed)
        assert all(shown.endswith("}\n") for shown in (generation, usage, invoice))
        listed, following = (reader.reads(path)["data"] for path in ("/invoices", "/invoices/current"))
        assert [each["period"] for each in listed] == [draft["period"]]
        assert following["period"]["start"] == draft["period"]["end"]

        assert prints(reader.fills_in(openai_client)) == "Hello, Tollgate!\n0.000022 USD\n"
        assert prints(reader.fills_in(anthropic_client)) == "Hello, Tollgate! 0.000022 USD\n"


def test_a_price_list_and_a_model_of_ones_own_can_be_added(readme: Readme, repository: Path, tmp_path: Path) -> None:
    price_list, serve, local = readme.blocks("Providers", "sh")
    variables = readme.blocks("From a key to an invoice in five calls", "sh")[0]

    with a_local_model() as address, a_reader(repository, tmp_path, serve) as reader:
        assert re.search(r"[1-9]\d* price versions published", reader.types(price_list, says="y\n")[0])
        _, added = reader.types(variables, local.replace(LOCAL_MODEL, address))
        assert added.count('{"data":') == 4
        answer = httpx.post(
            f"{reader.origin}/api/v1/chat/completions",
            headers={"Authorization": f"Bearer {reader.given['sk']}"},
            json={"model": "local/smollm2", "messages": [{"role": "user", "content": "Hello"}]},
            trust_env=False,
        )

    assert answer.status_code == 200, answer.text
    assert '"cost":0.00002,' in answer.text  # 100 x 0.10 + 50 x 0.20 = 20 dollars a million


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/docs"])
def test_what_it_says_of_production_is_there(readme: Readme, path: str) -> None:
    assert f"`{path}`" in readme.text


def test_production_is_served_from_a_database_of_ones_own(
    readme: Readme, repository: Path, tmp_path: Path, empty_database_url: str
) -> None:
    (command,) = re.findall(r"`(\./scripts/serve --host[^`]+)`", readme.text)
    command = command.replace("0.0.0.0", "127.0.0.1").replace("--workers 4", "--workers 2")  # noqa: S104 - replaced
    assert "TOLLGATE_DATABASE_URL=postgresql://…" in readme.text

    with a_reader(repository, tmp_path, f"TOLLGATE_DATABASE_URL='{empty_database_url}' {command}") as reader:
        answers = {
            path: httpx.get(reader.origin + path, trust_env=False)
            for path in ("/health/live", "/health/ready", "/metrics", "/docs")
        }

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 200)
    assert "tollgate_" in answers["/metrics"].text
    assert not (tmp_path / "postgres").exists()


def test_every_file_it_points_to_is_there(readme: Readme, repository: Path) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", readme.text) + re.findall(r"`(src/[^`]+)`", readme.text)
    assert targets
    for target in targets:
        assert (repository / target).exists(), target


@contextmanager
def a_local_model() -> Iterator[str]:
    """The address of a server that answers any chat with the same hundred tokens read and fifty written."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _LocalModel)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _LocalModel(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, asked["model"]) == ("/v1/chat/completions", "smollm2")
        message = {"role": "assistant", "content": "Hello to you"}
        answer = json.dumps({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "smollm2",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Tell nobody."""
