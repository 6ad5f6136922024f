"""What a machine or a cluster must have for a study, each looked at and told with a remedy; no Ray for one machine."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tune_mnist.running.access import private_folder, token_path
from tune_mnist.running.surroundings import raised_limits, usable_processors
from tune_mnist.spec.errors import UserError
from tune_mnist.study.storage.folder import GIB
from tune_mnist.study.storage.opening import storage_at

PACKAGES = ("torch", "ray", "optuna")
LEAST_MEMORY_GIB, LEAST_SHARED_GIB = 2.0, 0.5


@dataclass(frozen=True)
class Check:
    """One thing looked at: what it is, how it stands, and what to do about it, None if nothing."""

    name: str
    value: str
    remedy: str | None = None


def machine_checks(storage: Path) -> Iterator[Check]:
    """This machine: Python, packages, cores, memory, GPUs, the data, `storage`, the token."""
    facts = machine_facts()
    too_old = sys.version_info < (3, 10)
    yield Check("Python", facts["python"], "install Python 3.10 or newer" if too_old else None)
    yield from package_checks(facts["packages"])
    yield Check("cores", str(facts["cores"]))
    yield _enough("memory", facts["memory_gib"], "free of", facts["memory_free_gib"], LEAST_MEMORY_GIB, "free some")
    yield _enough("shared memory", facts["shared_gib"], "free of", facts["shared_free_gib"], LEAST_SHARED_GIB,
                  "enlarge /dev/shm (docker run --shm-size=2g): Ray would use the disk instead")
    yield _gpus(facts["gpus"])
    yield _checked("MNIST", _mnist, "install the package again")
    yield _checked("storage", lambda: storage_at(storage).readiness())
    yield _checked("Ray's folder", lambda: str(private_folder()))
    yield _checked("limits", _limits)
    yield _token()


def print_checks(checks: Sequence[Check], *, as_json: bool = False) -> None:
    """Print the checks to stdout: a table with each remedy beside its problem, or one JSON object."""
    ready = all(check.remedy is None for check in checks)
    if as_json:
        print(json.dumps({"ready": ready, "checks": [dataclasses.asdict(check) for check in checks]}))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "what", "how it stands", "what to do", box=None)
    for check in checks:
        mark = "[green]ok[/]" if check.remedy is None else "[red]no[/]"
        table.add_row(mark, check.name, escape(check.value), escape(check.remedy or ""))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print("ready" if ready else "not ready: see what to do", style="bold")


def machine_facts() -> dict[str, Any]:
    """The machine that this runs on, as plain JSON values: python, packages, cores, memory, shared memory, gpus."""
    import psutil

    memory = psutil.virtual_memory()
    shared = shutil.disk_usage("/dev/shm") if Path("/dev/shm").is_dir() else None
    return {
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "cores": usable_processors(),
        "memory_gib": memory.total / GIB, "memory_free_gib": memory.available / GIB,
        "shared_gib": shared.total / GIB if shared else None, "shared_free_gib": shared.free / GIB if shared else None,
        "gpus": gpus(),
    }


def gpus() -> list[dict[str, Any]] | None:
    """Each GPU that torch can use, by name and memory in GiB; None if there are some that it cannot."""
    import torch

    if torch.cuda.is_available():
        properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return [{"name": gpu.name, "memory_gib": gpu.total_memory / GIB} for gpu in properties]
    return None if Path("/dev/nvidia0").exists() else []


def version_of(package: str) -> str | None:
    """The installed version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def package_checks(versions: Mapping[str, str | None]) -> Iterator[Check]:
    """The packages worth naming, and those of the others that are missing or too old."""
    lacking = dict(_lacking("tune-mnist", set()))
    for name, version in versions.items():
        remedy = f'pip install "{lacking.pop(name)}"' if name in lacking else None
        yield Check(name, version or "missing", remedy if version else remedy or f"pip install {name}")
    for name, requirement in lacking.items():
        yield Check(name, version_of(name) or "missing", f'pip install "{requirement}"')


def _lacking(package: str, extras: set[str]) -> Iterator[tuple[str, str]]:
    """What `package` with `extras` requires and lacks, by name; of what it requires with extras, the same."""
    try:
        required = metadata.requires(package) or []
    except metadata.PackageNotFoundError:  # a source folder: there is nothing to compare with
        return
    for requirement in map(Requirement, required):
        applies = [requirement.marker is None or requirement.marker.evaluate({"extra": e}) for e in extras or {""}]
        if not any(applies):
            continue
        version = version_of(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            yield requirement.name, str(requirement).partition(";")[0].strip()
        elif requirement.extras:
            yield from _lacking(requirement.name, requirement.extras)


def _enough(name: str, total: float | None, of: str, free: float | None, least: float, remedy: str) -> Check:
    if total is None or free is None:
        return Check(name, "unknown")
    short = f"at least {least:g} GiB should be free: {remedy}" if free < least else None
    return Check(name, f"{free:.1f} GiB {of} {total:.1f} GiB", short)


def _gpus(usable: list[dict[str, Any]] | None) -> Check:
    if usable is None:
        remedy = "install a CUDA build of torch, or a newer driver"
        return Check("GPUs", "there is one, but torch cannot use it", remedy)
    return Check("GPUs", gpu_names(usable) or "none: trials run on the CPUs")


def gpu_names(facts: Iterable[Mapping[str, Any]]) -> str:
    """GPUs as text."""
    return ", ".join(f"{gpu['name']} ({gpu['memory_gib']:.0f} GiB)" for gpu in facts)


def _checked(name: str, body: Callable[[], str], remedy: str | None = None) -> Check:
    """A check that may end in a `UserError`, whose own remedy is its last part."""
    try:
        return Check(name, body())
    except UserError as error:
        if remedy is not None:
            return Check(name, str(error), remedy)
        value, _, remedy = str(error).rpartition(": ")
        return Check(name, value, remedy)


def _limits() -> str:
    with raised_limits() as limits:
        return ", ".join(f"{most} {what}" for what, most in limits.items())


def _mnist() -> str:
    from tune_mnist.training.dataset import load_dataset

    dataset = load_dataset()
    return f"{len(dataset.train_labels):,} + {len(dataset.test_labels):,} pictures, checksums right"


def _token() -> Check:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Check("token", "from RAY_AUTH_TOKEN")
    path = token_path()
    if not os.path.exists(path):
        given = "RAY_AUTH_TOKEN_PATH" in os.environ
        return Check("token", f"no {path}" if given else "none yet: the first run makes one",
                     "correct RAY_AUTH_TOKEN_PATH" if given else None)
    open_to_others = stat.S_IMODE(path.stat().st_mode) & 0o077
    return Check("token", str(path), f"chmod 600 {path}: others can read it" if open_to_others else None)
