"""Ray nodes on this machine, each with processes of its own: a cluster to try things on.

Run:  python experiments/cluster/local_nodes.py 3

It prints how to use the cluster and keeps it up until Ctrl-C. Everything listens on loopback alone and
asks for a token of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

START_SECONDS = 60.0
LOOPBACK = "127.0.0.1"


class LocalNodes:
    """Nodes started by `ray start`, all of this machine, in one cluster; `environment` is what joins it."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str] = os.environ, python: str = sys.executable,
                 ) -> None:
        self.folder, self.python = folder, python
        self.address = f"{LOOPBACK}:{free_port()}"
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.environment = {**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._started: set[psutil.Process] = set()

    def add(self, *, cpus: float = 1, gpus: float = 0, words: Sequence[str] = (), **started: Any) -> int:
        """Start one more node, the first being the head; returns its number once it is up.

        `words` are more of `ray start`'s, `started` more of Popen's.

        Raises:
            RuntimeError: it does not come up within a minute.
        """
        number = len(self.nodes)
        head = ["--head", f"--port={self.address.split(':')[1]}", "--include-dashboard=true",
                f"--dashboard-port={free_port()}", f"--temp-dir={self.folder / 'ray'}"]
        command = [
            *started.pop("prefix", ()), self.python, "-m", "ray.scripts.scripts", "start", "--block",
            "--disable-usage-stats", f"--num-cpus={cpus:g}", f"--num-gpus={gpus:g}",
            "--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={256 * 2**20}",
            *([f"--node-ip-address={LOOPBACK}"] if not any(w.startswith("--node-ip-address") for w in words) else []),
            *(head if number == 0 else [f"--address={self.address}"]), *words,
        ]
        log = self.folder / f"node{number}.log"
        with open(log, "wb") as out:
            options: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "start_new_session": True}
            self.nodes.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options | started)
            )
        wait_for(lambda: b"Ray runtime started" in log.read_bytes() or self.nodes[number].poll() is not None)
        if self.nodes[number].poll() is not None:
            raise RuntimeError(f"node {number} did not start: {log.read_text()[-2000:]}")
        self._note()
        return number

    def raylet(self, number: int) -> psutil.Process:
        """The node's own raylet."""
        family = psutil.Process(self.nodes[number].pid).children(recursive=True)
        return next(process for process in family if process.name() == "raylet")

    def kill(self, number: int) -> None:
        """End a node as a power cut would, as far as Ray can tell: SIGKILL to its raylet, whose workers follow."""
        self._note()
        self.raylet(number).kill()

    def close(self) -> None:
        """End every process of every node."""
        self._note()
        for node in reversed(self.nodes):
            with contextlib.suppress(ProcessLookupError):
                node.send_signal(signal.SIGTERM)
        for node in self.nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(10)
        for process in self._started:  # known by pid and start time: never another's
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for node in self.nodes:
            node.wait()

    def _note(self) -> None:
        for node in self.nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                mine = psutil.Process(node.pid)
                self._started |= {mine, *mine.children(recursive=True)}


def wait_for(holds: Any, seconds: float = START_SECONDS) -> None:
    """Wait until `holds()`.

    Raises:
        RuntimeError: it does not within `seconds`.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:g} s in vain")
        time.sleep(0.1)


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as asked:
        asked.bind((LOOPBACK, 0))
        return int(asked.getsockname()[1])


@contextlib.contextmanager
def local_nodes(cpus: Sequence[float] = (1, 1, 1), **options: Any) -> Iterator[LocalNodes]:
    """A cluster with a node for each number of CPUs, in a temporary folder; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="rc-", ignore_cleanup_errors=True) as folder:  # short: sockets live there
        nodes = LocalNodes(Path(folder), **options)
        try:
            for count in cpus:
                nodes.add(cpus=count)
            yield nodes
        finally:
            nodes.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nodes", type=int, nargs="?", default=3, help="how many (3)")
    parser.add_argument("--cpus", type=float, default=1, help="CPUs that each says it has (1)")
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), local_nodes([args.cpus] * args.nodes) as cluster:
        print("The cluster is up. In another terminal:\n")
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            print(f"  export {name}={cluster.environment[name]}")
        print(f"  python -m tune_mnist.grid experiments/smoke.toml --address {cluster.address}\n\nCtrl-C ends it.")
        signal.pause()


if __name__ == "__main__":
    main()
