"""Has documents set in type by processes of their own, so that no call waits for it and no crash there is one here.

Such a process is given a document and nothing else: no environment, so no credentials, and little time.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

import structlog

from tollgate.infra import telemetry
from tollgate.kit.errors import Unavailable

PROGRAM = (sys.executable, "-m", "tollgate.invoices.pdf")
_TOLD_MAX = 2000
_RETRY_SECONDS = 5

_log = structlog.get_logger(__name__)


class Printer:
    """Makes PDF files, few at once. Whoever asks waits for a turn, and no longer than both patiences together."""

    def __init__(
        self,
        *,
        at_once: int = 1,
        turn_seconds: int = 20,
        work_seconds: int = 60,
        program: tuple[str, ...] = PROGRAM,
    ) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._turn_seconds = turn_seconds
        self._work_seconds = work_seconds
        self._program = program

    async def pdf_of(self, document: str) -> bytes:
        """The PDF/A-3b file of a document, by its JSON text: of the same text the same bytes.

        Raises:
            Unavailable: too many are waiting, or it could not be made.
        """
        try:
            async with asyncio.timeout(self._turn_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise _unavailable("busy") from None
        try:
            return await self._made(document)
        finally:
            self._turns.release()

    async def _made(self, document: str) -> bytes:
        process = await asyncio.create_subprocess_exec(*self._program, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={})
        try:
            async with asyncio.timeout(self._work_seconds):
                made, told = await process.communicate(document.encode())
        except TimeoutError:
            raise _unavailable("late") from None
        finally:
            await _end(process)
        if process.returncode:
            _log.error("pdf.failed", code=process.returncode, told=told[-_TOLD_MAX:].decode(errors="replace"))
            raise _unavailable("failed")
        return made


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _unavailable(reason: str) -> Unavailable:
    telemetry.PDF_FAILURES.labels(reason).inc()
    return Unavailable(
        "The PDF cannot be made right now; the document itself is there.",
        metadata={"retry_after_seconds": _RETRY_SECONDS},
    )
