"""A proxy in front of an S3 server that misbehaves as told."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple

ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>'
HOP_BY_HOP = {"content-length", "connection", "transfer-encoding", "keep-alive", "date", "server"}


class Refusal(NamedTuple):
    """An answer given without asking the server."""

    status: int
    code: str = ""
    headers: tuple[tuple[str, str], ...] = ()


Fault = Refusal | Literal["lose", "flip", "unconditional", "hang"] | None
"""lose: pass the request on and drop the answer. flip: change a byte of the answer's middle. unconditional: pass it on
without its If-None-Match. hang: keep the caller waiting for a minute. None: pass it on."""


class Seen(NamedTuple):
    """A request."""

    method: str
    path: str

    @property
    def is_list(self) -> bool:
        """Whether it asks for a listing."""
        return self.method == "GET" and "list-type" in self.path


class FaultyServer:
    """Serves on loopback, in a thread of this process, what the server at HOST:PORT does, but for faults."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.plan: list[Fault] = []
        """What befalls the next requests, one after the other."""
        self.rule: Callable[[Seen], Fault] = lambda seen: None
        """What befalls a request for which nothing is planned."""
        self.seen: list[Seen] = []
        faulty = self

        class Handler(_Handler):
            faults = faulty

        self._http = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def next_fault(self, seen: Seen) -> Fault:
        self.seen.append(seen)
        return self.plan.pop(0) if self.plan else self.rule(seen)

    def paid(self) -> int:
        """How many of the requests so far cost as a write does: PUT and LIST; deletions are free."""
        return sum(each.method == "PUT" or each.is_list for each in self.seen)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Be silent about a client that has gone."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: FaultyServer

    def log_message(self, *args: object) -> None:
        pass

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.faults.next_fault(Seen(self.command, self.path))
        if isinstance(fault, Refusal):
            text = (ERROR % (fault.code, "told to refuse")).encode() if fault.code else b""
            self.answer(fault.status, text, dict(fault.headers))
            return
        if fault == "hang":
            time.sleep(60)
        try:
            response, data = self.ask(body, drop={"if-none-match"} if fault == "unconditional" else set())
        except OSError:
            self.close_connection = True
            return
        if fault == "lose":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "flip" and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        headers = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
        self.answer(response.status, data, headers, int(response.getheader("content-length") or len(data)))

    def ask(self, body: bytes, drop: set[str]) -> tuple[http.client.HTTPResponse, bytes]:
        there = http.client.HTTPConnection(self.faults.server, timeout=30)
        there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in {"connection", *drop}:
                there.putheader(name, value)
        there.endheaders(body)
        response = there.getresponse()
        data = response.read()
        there.close()
        return response, data

    def answer(self, status: int, data: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        head = self.command == "HEAD"
        self.send_header("content-length", str(length if head and length is not None else len(data)))
        self.end_headers()
        if not head:
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request
