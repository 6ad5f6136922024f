"""The Ray Serve deployment: a page to draw on, and pictures to answers in batches."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from tune_mnist.deploy.answers import Answer, Source, answer_sources
from tune_mnist.deploy.trained import load_trained

PAGE = Path(__file__).parent / "serve.html"
MOST_BYTES = 2**20
"""Of a request's body; at most `MOST_AT_ONCE` are in memory."""
MOST_PIXELS = 2**22
REQUEST_SECONDS = 30.0
MOST_AT_ONCE = 256
MOST_WAITING = 2048
MOST_IN_BATCH = 32
BATCH_WAIT_SECONDS = 0.005
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def deploy(model: Path, host: str, port: int) -> None:
    """Start Ray Serve in the running Ray session, listening there, with the deployment of a trained model's folder."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    http = {"host": host, "port": port, "request_timeout_s": REQUEST_SECONDS}
    serve.start(proxy_location="HeadOnly", http_options=http, logging_config=quiet)
    serve.run(application(model), name="tune_mnist", logging_config=quiet)


def application(model: Path) -> serve.Application:
    """The deployment of a trained model's folder, bound and ready for `serve.run`."""
    deployment: Any = serve.deployment(
        DigitReader, name="digits", max_ongoing_requests=MOST_AT_ONCE, max_queued_requests=MOST_WAITING,
        ray_actor_options={"num_cpus": 1}, graceful_shutdown_timeout_s=2.0, graceful_shutdown_wait_loop_s=0.1,
    )
    return deployment.bind(model)


class DigitReader:
    """`GET /` is the page; `POST /predict` takes a picture file as its body and answers in JSON."""

    def __init__(self, model: Path) -> None:
        self.trained = load_trained(model)
        self.page = PAGE.read_text(encoding="utf-8")

    async def __call__(self, request: Request) -> Response:
        """Answer one request; status 200, or 400, 404, 405 or 413 with `error`."""
        known = {"/": "GET", "/predict": "POST"}
        method = known.get(request.url.path)
        if method is None:
            return _error(404, "no such page: there are / and /predict")
        if request.method != method and not (method == "GET" and request.method == "HEAD"):
            return _error(405, f"use {method} here", Allow=method)
        if method == "GET":
            return HTMLResponse(self.page, headers=HEADERS)
        body = await _body(request)
        if body is None:
            return _error(413, f"a picture of at most {MOST_BYTES} bytes is read", Connection="close")
        answer = await self.read(body)
        return _error(400, answer.error) if answer.error else JSONResponse(as_json(answer), headers=HEADERS)

    @serve.batch(max_batch_size=MOST_IN_BATCH, batch_wait_timeout_s=BATCH_WAIT_SECONDS)
    async def read(self, bodies: list[bytes]) -> list[Answer]:
        """The answers to picture files, through the network as one batch, while new requests come in."""
        return await asyncio.to_thread(self._answers, bodies)

    def _answers(self, bodies: list[bytes]) -> list[Answer]:
        return answer_sources([_source(body) for body in bodies], self.trained, most_pixels=MOST_PIXELS)


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as plain JSON values: what predict prints but its path, all probabilities, and the view in base64."""
    assert answer.view is not None
    values = answer.as_json()
    del values["path"]
    view = base64.b64encode(answer.view.tobytes()).decode()
    return {**values, "probabilities": list(answer.probabilities), "view": view}


def _source(body: bytes) -> Source:
    return Source("", lambda: body)


async def _body(request: Request) -> bytes | None:
    """The request's body, None if it is too large, of which no more is then read."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > MOST_BYTES:
        return None
    body = bytearray()
    with contextlib.suppress(ClientDisconnect):  # nobody is there to read the answer
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                return None
    return bytes(body)


def _error(status: int, reason: str, **headers: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status, headers=HEADERS | headers)
