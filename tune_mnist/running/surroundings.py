"""What a run needs of the machine it finds itself on: processors, a home, limits; no Ray needed to ask."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tune_mnist.running.access import private_folder
from tune_mnist.spec.errors import require

MANY = 65536
LEAST_FILES, LEAST_THREADS = 256, 500
"""Open files, and processes and threads, that a run of a few trials takes."""


def usable_processors() -> int:
    """How many processors this process may use: by affinity, cgroup quota, LOKY_MAX_CPU_COUNT and Slurm's share."""
    from joblib import cpu_count  # which takes a moment to import

    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(int(cpu_count()), int(slurm)) if slurm.isdecimal() and int(slurm) > 0 else int(cpu_count())


def give_home() -> None:
    """Let HOME name a private folder if this user has no home at all: Ray cannot even be imported without one."""
    if os.path.expanduser("~") == "~":
        home = private_folder() / "home"
        home.mkdir(exist_ok=True)
        os.environ["HOME"] = str(home)


@contextlib.contextmanager
def raised_limits() -> Iterator[dict[str, int]]:
    """Let this process, and what it starts in the block, have as many open files and threads as it may; gets how many.

    Raises:
        UserError: that is too few for Ray, which would hang.
    """
    import resource

    kinds = (
        (resource.RLIMIT_NOFILE, LEAST_FILES, "open files", "n"),
        (resource.RLIMIT_NPROC, LEAST_THREADS, "processes and threads", "u"),
    )
    before = {kind: resource.getrlimit(kind) for kind, *_ in kinds}
    limits = {}
    try:
        for kind, least, what, flag in kinds:
            soft, hard = before[kind]
            limits[what] = MANY if hard == resource.RLIM_INFINITY else min(hard, MANY)
            remedy = f"raise the limit (ulimit -{flag})"
            require(limits[what] >= least, f"at least {least} {what} are allowed", limits[what], remedy)
            if soft != resource.RLIM_INFINITY and soft < limits[what]:
                with contextlib.suppress(ValueError, OSError):  # macOS allows fewer than it says
                    resource.setrlimit(kind, (limits[what], hard))
        yield limits
    finally:
        for kind, limit in before.items():
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, limit)
