"""A pass-through on loopback between the gateway and a model server, which writes down the usage that was served.

It shares no code with the gateway: what it reads out of the answers is an independent account of them.
"""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(slots=True)
class Recorder:
    """Where the pass-through listens, and the usage objects it saw, by the model server's own id of the answer."""

    base_url: str
    usage: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, answer: bytes) -> None:
        """Find id and usage in an answer, or in a stream's events."""
        texts = [line.removeprefix(b"data: ") for line in answer.splitlines() if line.startswith((b"data: {", b"{"))]
        for said in map(json.loads, texts):
            if said.get("usage"):
                self.usage[said["id"]] = said["usage"]


@contextmanager
def recording(model_server: str) -> Iterator[Recorder]:
    """Record what this server answers."""
    target = urlsplit(model_server).netloc

    class PassThrough(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            onward = http.client.HTTPConnection(target, timeout=300)
            onward.request("POST", self.path, body, {"Content-Type": "application/json"})
            answer = onward.getresponse()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            pieces = []
            while piece := answer.read1(65536):
                pieces.append(piece)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            # Noted before the end is passed on, so that whoever saw the end finds the note.
            recorder.note(b"".join(pieces))
            self.wfile.write(b"0\r\n\r\n")
            onward.close()

        def log_message(self, *_: object) -> None:
            """Tell nobody."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), PassThrough)
    recorder = Recorder(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
