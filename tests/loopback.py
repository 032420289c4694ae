"""A server on a free port of this machine: sockets, the log of calls, and the faults that tests inject."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hub.faults import Fault, Injection
from hub.http import Answer, Request

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: closing sends a reset


@dataclass(frozen=True)
class Call:
    """A request as the log keeps it."""

    method: str
    path: str
    token: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Loopback(ABC):
    """What answers.

    Attributes:
        log: All calls since the last reset.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listen(0)
        self.port = self._server.server_address[1]
        self.reset()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Forget all calls and faults; come back up if down."""
        self.log: list[Call] = []
        self._injections: list[Injection] = []
        if self._server is None:
            self._listen(self.port)

    def stop(self) -> None:
        """Go down: connections break, new ones are refused."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        server.server_close()
        for connection in list(server.connections):  # kept alive, they would outlive the listening socket
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def inject(self, method: str, pattern: str, fault: Fault, *, times: int = 1) -> None:
        """Let the next calls of `method` whose path matches `pattern` go wrong."""
        self._injections.append(Injection(method, pattern, fault, times))

    def mend(self) -> None:
        """Let nothing go wrong any more."""
        self._injections.clear()

    def answer(self, request: Request) -> tuple[Answer, Fault | None]:
        """The answer to a request, and the fault with which it is to be sent."""
        self.log.append(Call(request.method, request.path, request.token))
        with self._lock:
            injection = next((each for each in self._injections if each.strikes(request.method, request.path)), None)
            fault = injection.fault if injection else None
            answer = self.answered(request) if fault is None or fault.acts else Answer()
        return (fault.spoil(answer), fault) if fault else (answer, None)

    @abstractmethod
    def answered(self, request: Request) -> Answer:
        """What is said where nothing goes wrong; one at a time."""

    def _listen(self, port: int) -> None:
        self._server: _Server | None = _Server(("127.0.0.1", port), _Handler)
        self._server.answering = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    answering: Loopback

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connections: set[socket.socket] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body leave in two writes; without this each call takes 45 ms
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        """`Loopback.log` is the log."""

    def _serve(self) -> None:
        request = Request(self.command, self.path, self.headers, self._body())
        answer, fault = self.server.answering.answer(request)
        body = b"" if self.command == "HEAD" else answer.body
        sent = fault.body_sent(body) if fault else body
        self.send_response(answer.status)
        for name, value in {
            "Content-Length": str(len(answer.body)),
            "X-Request-Id": "loopback",
            **answer.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)
        if len(sent) < len(body):
            self.close_connection = True
            if fault and fault.resets:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.connection.close()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  http.server looks these names up
