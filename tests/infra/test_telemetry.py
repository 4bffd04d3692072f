"""What a process writes to standard error: one JSON object a line, and nothing that anybody said."""

import json
import subprocess
import sys
from typing import Any

_SETUP = "import logging, structlog; from tollgate.infra import telemetry; telemetry.configure_logging()\n"


def _logged(program: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", _SETUP + program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_our_own_words_are_json() -> None:
    (line,) = _logged("structlog.get_logger().info('job.started', job='sweep')")

    assert {**line, "timestamp": None} == {"event": "job.started", "job": "sweep", "level": "info", "timestamp": None}


def test_libraries_are_heard_from_warnings_on_in_the_same_form() -> None:
    (line,) = _logged(
        "logging.getLogger('httpx').info('HTTP Request: GET https://x/?secret=1')\n"
        "logging.getLogger('asyncpg.pool').warning('%s lost', 'connection')"
    )

    assert (line["event"], line["level"], line["logger"]) == ("connection lost", "warning", "asyncpg.pool")
    assert "timestamp" in line


def test_nobody_who_spoke_before_is_heard_in_another_form() -> None:
    (line,) = _logged("logging.basicConfig(level=logging.DEBUG); logging.error('once')")

    assert line["event"] == "once"


def test_an_exception_is_told_without_its_message() -> None:
    failing = "try: raise LookupError('secret') from KeyError('secret')\nexcept LookupError as error: "
    lines = _logged(failing + "logging.exception('failed'); structlog.get_logger().error('failed', exc_info=error)")

    for line in lines:
        assert line["raised"] == ["builtins.LookupError", "builtins.KeyError"]
        assert 'File "<string>"' in line["traceback"]
        assert "secret" not in str(line)
    assert len(lines) == 2
