"""What a run ran on: versions, commit, machine, command line."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
"""The package's folder."""
MASK = "***"
PACKAGES = ("tune-mnist", "torch", "torchvision", "ray", "optuna", "numpy", "numba", "scipy", "pandas", "scikit-learn")


def about_run() -> dict[str, Any]:
    """The reproducibility record of a run that starts now; plain JSON values."""
    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *map(without_password, sys.argv[1:])],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "git": _git(PACKAGE),
        "machine": {
            "platform": platform.platform(), "cpu": cpu_model(), "cpus": os.cpu_count(), "gpus": gpus(), "cuda": cuda(),
        },
    }


def without_password(word: str) -> str:
    """A command's word with the password of a URL in it, SCHEME://USER:PASSWORD@HOST or ?password=…, as ***."""
    word = re.sub(r"(\w://[^/@\s:]*):[^@]+@", rf"\1:{MASK}@", word)
    return re.sub(r"([?&](?:password|passwd|pwd|token)=)[^&\s]+", rf"\1{MASK}", word, flags=re.IGNORECASE)


def cpu_model() -> str:
    """The processor's name, as far as the platform tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def gpus() -> list[dict[str, str]]:
    """Each NVIDIA GPU's name and its driver's version, as nvidia-smi tells them; using none of them."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.rpartition(",") for line in told.splitlines() if line.strip())
    return [{"name": name.strip(), "driver": driver.strip()} for name, _, driver in rows]


def cuda() -> str | None:
    """The version of CUDA that torch was built for, None for a CPU; read, as to import torch takes a second."""
    spec = util.find_spec("torch")
    folders = (spec and spec.submodule_search_locations) or []
    try:
        text = Path(*folders, "version.py").read_text()
    except OSError:
        return None
    found = re.search(r"^cuda\b[^=]*= '([\d.]+)'", text, re.MULTILINE)
    return found[1] if found else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    """The source's commit and whether it was changed since; None outside a git checkout."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return None
