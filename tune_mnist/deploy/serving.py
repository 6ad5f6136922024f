"""A trained model served by Ray Serve: checked before Ray starts, then deployed."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tune_mnist.shell.process_state import process_state_kept
from tune_mnist.spec.errors import UserError, require

if TYPE_CHECKING:
    from rich.console import Console

LOOPBACK = ("127.0.0.1", "localhost", "::1")
STARTING = "starting, which takes up to half a minute"
OPEN_TO_ALL = "warning: whoever reaches this machine on that port can use it; nothing asks who they are"
# A replica listens on every network; before https://github.com/ray-project/ray/pull/65189 to anyone, token or not.
LEAST_RAY = "2.60"


def serve_for_ever(model: Path | None, host: str, port: int, trust_code: bool = False) -> NoReturn:
    """Serve as `serving` does, say where, and wait for Ctrl-C.

    Raises:
        UserError: as `serving` does.
        KeyboardInterrupt: it was stopped.
    """
    from rich.console import Console

    try:
        with serving(model, host, port, Console(stderr=True), trust_code) as address:
            if host not in LOOPBACK:
                print(OPEN_TO_ALL, file=sys.stderr)
            print(f"Draw a digit on {address}; Ctrl-C ends it", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped serving") from None


@contextlib.contextmanager
def serving(
    model: Path | None, host: str, port: int, console: Console, trust_code: bool = False
) -> Iterator[str]:
    """Serve the trained model in folder `model` (None: the package's own) within the block; yields the page's address.

    Progress goes to `console`.

    Raises:
        UserError: no model, no Ray Serve, or the address cannot be listened on; before Ray starts.
    """
    _check_ray()
    port = _free_port(host, port)
    print(STARTING, file=sys.stderr, flush=True)  # before torch and Ray are imported, which takes seconds

    from tune_mnist.deploy.trained import PRETRAINED, load_trained

    folder = (model or PRETRAINED).resolve()
    load_trained(folder, trusted=trust_code)

    from tune_mnist.running.resources import Resources
    from tune_mnist.running.session import ray_session, refuse_given_session

    refuse_given_session()
    with process_state_kept(), ray_session(Resources(), console):
        from tune_mnist.deploy.server import deploy

        deploy(folder, host, port)
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _check_ray() -> None:
    from packaging.version import Version

    installed = metadata.version("ray")
    rule = f"serve has Ray of at least {LEAST_RAY}, the first seen to ask a replica's callers for the token"
    require(Version(installed) >= Version(LEAST_RAY), rule, installed, f"pip install 'ray[serve]>={LEAST_RAY}'")
    if importlib.util.find_spec("starlette") is None:
        raise UserError(f"serve needs Ray Serve, which is not installed: pip install 'ray[serve]>={LEAST_RAY}'")


def _free_port(host: str, port: int) -> int:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            return int(listener.getsockname()[1])
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror}: change --host or --port") from None
