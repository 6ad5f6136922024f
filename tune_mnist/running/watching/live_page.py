"""A study's live page, served to this machine alone: read from the study's files, when a browser asks."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tune_mnist.running.page_headers import HEADERS
from tune_mnist.running.watching.curves import DRAWN, Curves, Filters
from tune_mnist.running.watching.status_view import headline, json_of, lines
from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.places import shown
from tune_mnist.study.look import Look, Status
from tune_mnist.study.study import Study

PAGE = Path(__file__).parent / "watch.html"
HOST = "127.0.0.1"
LEAST_SECONDS, IDLE_SECONDS, MOST_SECONDS = 0.4, 2.0, 5.0
"""Between two questions of a page: while the study runs, otherwise, and at most where a look takes long."""
CONNECTION_SECONDS = 60.0


class WatchedStudy:
    """A study that pages ask about, looked at on demand; one of many threads at a time."""

    def __init__(self, study: Study) -> None:
        """Look at it for the first time.

        Raises:
            UserError: it cannot be looked at.
        """
        self.study, self.lock = study, threading.Lock()
        self._begin()
        self.status = self._look()

    def news(self, since: str, filters: Filters) -> dict[str, Any]:
        """Where the study stands now and, unless the page has it already, what to draw of it.

        Args:
            since: the `version` that the page was told last, with these filters.
            filters: as `Curves.shown` takes them.

        Raises:
            UserError: the study can no longer be looked at, or a filter is none.
        """
        with self.lock:
            if time.monotonic() - self.looked > LEAST_SECONDS / 2:  # else another page has just asked
                self.status = self._look()
            version = f"{self.session}.{self.curves.version}"
            pause = LEAST_SECONDS if self.status.state == "running" else IDLE_SECONDS
            pause = max(pause, min(2 * self.look_seconds, MOST_SECONDS))
            told = _told(self.status) | {"version": version, "session": self.session, "wait_seconds": pause}
            return told if since == version else told | self.curves.shown(filters)

    def points(self, numbers: list[int]) -> list[dict[str, Any]]:
        """The curves with these numbers, as `Curves.points` has them."""
        with self.lock:
            return self.curves.points(numbers)

    def _begin(self) -> None:
        self.curves, self.planned = Curves(), (0, 0)
        self.look = Look(self.study, on_record=lambda record: self.curves.take(record))
        self.session = secrets.token_hex(4)
        """By which pages notice that the curves are counted anew."""

    def _look(self) -> Status:
        started = time.monotonic()
        status = self.look()
        if len(self.curves.curves) > len(status.progress.plans) or self.curves.begun > len(status.progress.epochs):
            self._begin()  # trainings went away: the study was begun anew
            status = self.look()
        planned = (len(status.progress.plans), status.progress.total_epochs)
        if planned != self.planned:
            self.curves.plan(status.progress.plans)
            self.planned = planned
        self.curves.run(status.progress.running)
        self.looked = time.monotonic()
        self.look_seconds = self.looked - started
        return status


class PageServer(ThreadingTCPServer):
    """Serves a study's live page."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, watched: WatchedStudy, port: int) -> None:
        """Listen on a port of this machine, 0 for any free one.

        Raises:
            UserError: it cannot be listened on.
        """
        self.watched, self.page = watched, PAGE.read_bytes()
        try:
            super().__init__((HOST, port), Answers)
        except OSError as error:
            raise UserError(f"cannot listen on {HOST}:{port}: {error.strerror}: change --port") from None

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{HOST}:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about a browser that has gone."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Answers(BaseHTTPRequestHandler):
    """`GET /` is the page, `/study` what is new, `/curves` the curves that it lacks; all else is refused."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = CONNECTION_SECONDS
    server_version, sys_version = "tune_mnist", ""

    def do_GET(self) -> None:
        """Answer with status 200, or 400, 403 or 404 with `error`."""
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        # Another site's page may reach this machine by a name of its own: it must not read the answers.
        if re.fullmatch(r"(127\.0\.0\.1|localhost)(:\d+)?", self.headers.get("Host", ""), re.IGNORECASE) is None:
            self._send(403, {"error": f"open {self.server.address}"})
        elif url.path == "/":
            self._send(200, self.server.page)
        elif url.path == "/study":
            self._try(lambda: self.server.watched.news(query.get("since", ""), _filters(query.get("filters", "{}"))))
        elif url.path == "/curves":
            self._try(lambda: self.server.watched.points(_numbers(query.get("of", ""))))
        else:
            self._send(404, {"error": "no such page: there are /, /study and /curves"})

    def _try(self, answer: Any) -> None:
        try:
            self._send(200, answer())
        except UserError as error:
            self._send(400, {"error": str(error)})

    def _send(self, status: int, content: Any) -> None:
        is_page = isinstance(content, bytes)
        body = content if is_page else json.dumps(content, allow_nan=False).encode()
        self.send_response(status)
        kind = "text/html; charset=utf-8" if is_page else "application/json"
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextlib.contextmanager
def served(study: Study, port: int = 0) -> Iterator[PageServer]:
    """A server of the study's page, which listens within the block; `serve_forever` is the caller's.

    Raises:
        UserError: the study cannot be looked at, or the port not be listened on.
    """
    with PageServer(WatchedStudy(study), port) as server:
        yield server


def serve_until_interrupted(study: Study, port: int) -> None:
    """Serve the study's page, say where, and return after Ctrl-C, which interrupts nothing.

    Raises:
        UserError: as `served` does.
    """
    print(f"reading {shown(study.path)}", file=sys.stderr, flush=True)
    with served(study, port) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"Watch {study.name} on {server.address}; Ctrl-C ends it", flush=True)
        server.serve_forever()


def _told(status: Status) -> dict[str, Any]:
    """A status as the page shows it."""
    as_json = json_of(status)
    names = ("study", "state", "trainings", "model_epochs", "best", "eta_seconds")
    return {name: as_json[name] for name in names} | {
        "headline": headline(status), "lines": list(lines(status)), "accuracy": status.progress.accuracy,
    }


def _filters(text: str) -> Filters:
    try:
        filters = json.loads(text)
    except (ValueError, RecursionError):
        filters = None
    require(isinstance(filters, dict), "filters are a JSON object", repr(text[:100]), "mend them")
    return dict(filters)


def _numbers(text: str) -> list[int]:
    rule = f"of is at most {DRAWN} numbers, separated by commas"
    require(re.fullmatch(r"\d{1,9}(,\d{1,9})*", text) is not None and text.count(",") < DRAWN, rule, repr(text[:100]),
            "ask for fewer")
    return [int(number) for number in text.split(",")]
