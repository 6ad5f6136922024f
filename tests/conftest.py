"""How the tests are shared out: what starts Ray runs one after the other, as do kills, beside all the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.buckets import ceph, faults, moto, uri

__all__ = ["ceph", "faults", "moto", "uri"]  # fixtures, which are made when a test asks for them

if not Path("/dev/nvidia0").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # which Triton reads when it is imported
os.environ |= {"RAY_worker_niceness": "0"}  # instead of 15, at which the tests beside would leave them no processor
ROOT = Path(__file__).parents[1]
WITHOUT_RAY = {
    "spec", "shell", "training", "study", "tables", "figures", "reporting", "searching", "digits", "bucket",
}
"""The rooms whose tests start no Ray: their slow tests are only long."""


def _turn(path: Path) -> str | None:
    """With whom a file's tests take turns.

    Those that call compiled steps, as each process waits until they are compiled; those that kill whole runs or start
    Ceph, on its own ports; and those that start Ray.
    """
    text = path.read_text(encoding="utf-8")
    if path.parent.name == "training" or "make_steps" in text:
        return "training"
    starts_ray = path.parent.name not in WITHOUT_RAY and "pytest.mark.slow" in text
    if path.parent.name == "chaos" or "CEPH" in text or (starts_ray and ".kill()" in text):
        return "kills"
    return "Ray" if starts_ray else None


TURNS = {path: turn for path in ROOT.glob("tests/**/test_*.py") if (turn := _turn(path)) is not None}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked `gpu` where torch can use none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no GPU that torch can use")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: what starts Ray waits a lot."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the files that take turns to one worker, first, and every other test to whichever worker is free."""
    from xdist.scheduler import LoadScopeScheduling

    class TurnsInOneWorker(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return TURNS.get(ROOT / nodeid.partition("::")[0], nodeid)

    return TurnsInOneWorker(config, log)


@pytest.fixture(scope="module", autouse=True)
def no_ray_is_kept() -> Iterator[None]:
    """End a session of Ray's that the runs of a file's tests kept for their next one."""
    yield
    session = sys.modules.get("tune_mnist.running.session")
    if session is not None and session._is_kept():
        sys.modules["ray"].shutdown()
