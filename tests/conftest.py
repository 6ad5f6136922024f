"""How the tests are shared out: what starts Ray or Ceph runs one after the other, beside all the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.buckets import faults, moto, uri

__all__ = ["faults", "moto", "uri"]  # fixtures, which are made when a test asks for them

if not Path("/dev/nvidia0").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # which Triton reads when it is imported
ROOT = Path(__file__).parents[1]
WITHOUT_RAY = {"spec", "shell", "training", "study", "tables", "figures", "reporting", "digits", "bucket",
               "searching"}
"""The rooms that may not import Ray: their slow tests are only long."""
def _takes_turns(path: Path) -> bool:
    """Whether its tests start Ray, on all processors, and measure what memory is free; or Ceph, on ports of its own."""
    text = path.read_text(encoding="utf-8")
    return (path.parent.name not in WITHOUT_RAY and "pytest.mark.slow" in text) or "ceph_server" in text


IN_TURN = {path for path in ROOT.glob("tests/**/test_*.py") if _takes_turns(path)}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked `gpu` where torch can use none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no GPU that torch can use")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give one worker the files of `IN_TURN`, first, and every other test to whichever worker is free."""
    from xdist.scheduler import LoadScopeScheduling

    class TurnsInOneWorker(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "in turn" if ROOT / nodeid.partition("::")[0] in IN_TURN else nodeid

    return TurnsInOneWorker(config, log)


@pytest.fixture(autouse=True)
def no_ray_is_kept() -> Iterator[None]:
    """End a session of Ray's that a test's runs kept for their next one."""
    yield
    session = sys.modules.get("tune_mnist.running.session")
    if session is not None and session._is_kept():
        sys.modules["ray"].shutdown()
