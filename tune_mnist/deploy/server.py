"""The Ray Serve deployment: a page to draw on, and pictures to answers in batches."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
from collections.abc import Sequence
from email.message import Message
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from tune_mnist.deploy.digits.answers import Answer, Source, answer_sources, digit_as_json
from tune_mnist.deploy.trained import load_trained
from tune_mnist.running.page_headers import HEADERS
from tune_mnist.spec.errors import UserError

PAGE = Path(__file__).parent / "serve.html"
MOST_BYTES = 2**25
"""Of a request's body."""
MOST_BYTES_READ = 2**27
"""Of a body that is too large, before the connection is closed: one that is closed at once has no answer."""
TOO_LARGE = f"a picture of at most {MOST_BYTES} bytes is read"
MOST_BYTES_AT_ONCE = 2**28
"""Of all bodies that are in memory."""
MOST_PIXELS = 2**24
"""That are decoded; of a JPEG a fraction is, so that it may have up to `pictures.MOST_PIXELS`."""
REQUEST_SECONDS = 30.0
MOST_AT_ONCE = 256
MOST_WAITING = 2048
MOST_IN_BATCH = 32
BATCH_WAIT_SECONDS = 0.005


def deploy(model: Path, host: str, port: int) -> None:
    """Start Ray Serve in the running Ray session, listening there, with the deployment of a trained model's folder.

    Raises:
        UserError: it did not start, as where too much else runs for Serve's patience.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    http = {"host": host, "port": port, "request_timeout_s": REQUEST_SECONDS}
    try:
        serve.start(proxy_location="HeadOnly", http_options=http, logging_config=quiet)
        serve.run(application(model), name="tune_mnist", logging_config=quiet)
    except (RayError, TimeoutError) as error:
        why = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(f"Ray Serve did not start ({why}): try again once the machine is less busy") from None


def application(model: Path) -> serve.Application:
    """The deployment of a trained model's folder, bound and ready for `serve.run`."""
    deployment: Any = serve.deployment(
        DigitReader, name="digits", max_ongoing_requests=MOST_AT_ONCE, max_queued_requests=MOST_WAITING,
        ray_actor_options={"num_cpus": 1}, graceful_shutdown_timeout_s=2.0, graceful_shutdown_wait_loop_s=0.1,
    )
    return deployment.bind(model)


class DigitReader:
    """`GET /` is the page; `POST /predict` takes a picture file, as its body or a form's, and answers in JSON."""

    def __init__(self, model: Path) -> None:
        self.trained = load_trained(model, trusted=True)  # it was asked for before this was started
        self.page = page_of(self.trained.classes)
        self.held = 0  # bytes of bodies in memory

    async def __call__(self, request: Request) -> Response:
        """Answer one request; status 200, or 400, 404, 405, 413 or 503 with `error`."""
        known = {"/": "GET", "/predict": "POST"}
        method = known.get(request.url.path)
        if method is None:
            return _error(404, "no such page: there are / and /predict")
        if request.method != method and not (method == "GET" and request.method == "HEAD"):
            return _error(405, f"use {method} here", Allow=method)
        if method == "GET":
            return HTMLResponse(self.page, headers=HEADERS)
        body = bytearray()
        try:
            return await self._receive(request, body) or await self._answered(request, bytes(body))
        finally:
            self.held -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> Response | None:
        """Read the request's body into `body`; a refusal if it is too large, the rest of which is thrown away."""
        announced = request.headers.get("content-length", "0")
        size = int(announced) if announced.isdecimal() else MOST_BYTES_READ + 1
        refusal = _error(413, TOO_LARGE, Connection="close") if size > MOST_BYTES else None
        read = 0
        with contextlib.suppress(ClientDisconnect):  # nobody is there to read the answer
            if size > MOST_BYTES_READ:
                return refusal
            async for chunk in request.stream():
                read += len(chunk)
                if read > MOST_BYTES_READ:
                    return refusal
                if read > MOST_BYTES:
                    refusal = _error(413, TOO_LARGE, Connection="close")
                elif self.held + len(chunk) > MOST_BYTES_AT_ONCE:
                    return _error(503, "too many pictures at once: try again", Connection="close")
                elif refusal is None:
                    body += chunk
                    self.held += len(chunk)
        return refusal

    async def _answered(self, request: Request, body: bytes) -> Response:
        content_type = request.headers.get("content-type", "")
        if content_type.lower().startswith("multipart/form-data"):
            picture = form_file(body, content_type)
            if picture is None:
                return _error(400, "a form without a file: send a file's content, as curl -F file=@photo.jpg does")
            body = picture
        answer = await self.read(body)
        return _error(400, answer.error) if answer.error else JSONResponse(as_json(answer), headers=HEADERS)

    @serve.batch(max_batch_size=MOST_IN_BATCH, batch_wait_timeout_s=BATCH_WAIT_SECONDS)
    async def read(self, bodies: list[bytes]) -> list[Answer]:
        """The answers to picture files, through the network as one batch, while new requests come in."""
        return await asyncio.to_thread(self._answers, bodies)

    def _answers(self, bodies: list[bytes]) -> list[Answer]:
        return answer_sources([_source(body) for body in bodies], self.trained, most_pixels=MOST_PIXELS)


def page_of(classes: Sequence[str]) -> str:
    """The page, for a model of these classes."""
    names = json.dumps(classes, ensure_ascii=True).replace("<", "\\u003c")
    return re.sub(r"const CLASSES = .*;", lambda _: f"const CLASSES = {names};", PAGE.read_text(encoding="utf-8"))


def as_json(answer: Answer) -> dict[str, Any]:
    """What predict prints but the path; each digit with all its probabilities and its view in base64."""
    digits = [
        digit_as_json(digit) | {
            "probabilities": list(digit.probabilities), "view": base64.b64encode(digit.view.tobytes()).decode(),
        }
        for digit in answer.digits
    ]
    return {**(digits[0] if len(digits) == 1 else {}), "digits": digits}


def form_file(body: bytes, content_type: str) -> bytes | None:
    """The content of the first file in a form of multipart/form-data (RFC 7578); None if there is none."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if not boundary:
        return None
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        if b"filename" in head.lower():
            return content
    return None


def _source(body: bytes) -> Source:
    return Source("", lambda: body)


def _error(status: int, reason: str, **headers: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status, headers=HEADERS | headers)
