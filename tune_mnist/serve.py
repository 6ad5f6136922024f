"""The serve command: a page to draw a digit on, read live by a trained model, on Ray Serve."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tune_mnist.cli import leave, parse, run
from tune_mnist.config import UserError, require

if TYPE_CHECKING:
    from rich.console import Console

DESCRIPTION = """Serve a page to draw a digit on with mouse or finger, and POST /predict for picture files.

On this machine alone unless --host says otherwise. Ctrl-C ends it."""

LOOPBACK = "127.0.0.1"
OPEN_TO_ALL = "warning: whoever reaches this machine on that port can use it; nothing asks who they are"
REQUEST_SECONDS = 30.0
# A replica listens on every network; before https://github.com/ray-project/ray/pull/65189 to anyone, token or not.
LEAST_RAY = "2.60"


@dataclass(frozen=True, kw_only=True)
class ServeArgs:
    """What is served, and where."""

    model: Path | None = None
    """Folder of a trained model, as retrain writes it; the one that comes with the package if not given."""
    host: str = LOOPBACK
    """Address to listen on; 0.0.0.0 is every network this machine is on."""
    port: int = 8000
    """Port to listen on; 0 takes any free one."""

    def __post_init__(self) -> None:
        require(0 <= self.port < 2**16, "0 <= port < 65536", self.port, "change --port")


@contextlib.contextmanager
def serving(args: ServeArgs, console: Console) -> Iterator[str]:
    """Serve within the block; yields the page's address. Progress goes to `console`.

    Raises:
        UserError: no model, no Ray Serve, or the address cannot be listened on; before Ray starts.
    """
    from tune_mnist.trained import PRETRAINED, load_trained

    folder = (args.model or PRETRAINED).resolve()
    load_trained(folder)
    _check_ray()
    port = _free_port(args.host, args.port)

    from tune_mnist.cluster import ray_session
    from tune_mnist.resources import Resources

    with ray_session(Resources(), console):
        _deploy(folder, args.host, port)
        yield f"http://{f'[{args.host}]' if ':' in args.host else args.host}:{port}"


def _check_ray() -> None:
    from packaging.version import Version

    installed = metadata.version("ray")
    rule = f"serve has Ray of at least {LEAST_RAY}, the first seen to ask a replica's callers for the token"
    require(Version(installed) >= Version(LEAST_RAY), rule, installed, f"pip install 'ray[serve]>={LEAST_RAY}'")
    if importlib.util.find_spec("starlette") is None:
        raise UserError(f"serve needs Ray Serve, which is not installed: pip install 'ray[serve]>={LEAST_RAY}'")


def _deploy(folder: Path, host: str, port: int) -> None:
    from ray import serve

    from tune_mnist.deployment import application

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    http = {"host": host, "port": port, "request_timeout_s": REQUEST_SECONDS}
    serve.start(proxy_location="HeadOnly", http_options=http, logging_config=quiet)
    serve.run(application(folder), name="tune_mnist", logging_config=quiet)


def _free_port(host: str, port: int) -> int:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0]) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(found[4])
            return int(listener.getsockname()[1])
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}: change --host or --port") from None


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 2 on bad input, 130 when interrupted."""
    return run(lambda: _command(parse(ServeArgs, argv, prog="python -m tune_mnist.serve", description=DESCRIPTION)))


def _command(args: ServeArgs) -> int:
    from rich.console import Console

    try:
        with serving(args, Console(stderr=True)) as address:
            if args.host not in (LOOPBACK, "localhost", "::1"):
                print(OPEN_TO_ALL, file=sys.stderr)
            print(f"Draw a digit on {address}; Ctrl-C ends it", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped serving") from None


if __name__ == "__main__":
    leave(main())
