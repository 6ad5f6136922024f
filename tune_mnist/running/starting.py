"""Workers that do not come up: whether any are awaited, why, as far as Ray's logs tell, and where these are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ray

from tune_mnist.spec.errors import UserError
from tune_mnist.study.progress import clock

GIVE_UP_SECONDS = 300.0
"""Without a running trial though there is room, after which to end the run."""
WORKER = "Training"
"""The class of workers, as Ray and its dashboard name it."""


class NoWorker(UserError):
    """No worker has come up: not the user's input, so that commands exit with 1 on it."""

    status = 1


def awaited() -> bool:
    """Whether a trial has its room, but its worker is not up."""
    job = ray._private.worker.global_worker.current_job_id
    actors = ray._private.state.actors(job_id=job, actor_state_name="PENDING_CREATION").values()
    return any(actor["ActorClassName"].endswith(WORKER) for actor in actors)


def no_worker_line(idle_seconds: float) -> str:
    """That no worker has come up for so long, why, and where to look."""
    logs = logs_folder()
    return f"no worker has come up in {clock(idle_seconds)}: {reason(logs)}; Ray's logs are in {logs}"


def logs_folder() -> Path:
    """Where Ray keeps the logs of this machine."""
    node: Any = ray._private.worker._global_node
    return Path(node.get_logs_dir_path())


def reason(logs: Path) -> str:
    """What workers, or Ray as it starts them, complained of last, by the newest of the logs of errors in `logs`."""
    files = [path for pattern in ("raylet.err", "worker-*.err", "runtime_env*.err") for path in logs.glob(pattern)]
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            of_others = [line for line in lines if not re.match(r"\[\d{4}-", line)]  # Ray only says that it waits
            return f"{path.name} says `{(of_others or lines)[-1][:300]}`"
    return "its logs of errors are empty, so they are starting still, or hang"
