"""Surroundings without what the machine that runs the tests happens to set."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Without Slurm's or a token's environment, and with the folder of temporary files looked for anew."""
    for name in ("SLURM_CPUS_PER_TASK", "LOKY_MAX_CPU_COUNT", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    return monkeypatch


@pytest.fixture
def short(bare: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files with a short name, to which TMPDIR points."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        bare.setenv("TMPDIR", folder)
        bare.setattr(tempfile, "tempdir", None)
        yield Path(folder)
