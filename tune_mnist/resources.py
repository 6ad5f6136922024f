"""What Ray may use for a run, and whether a machine has it; no Ray needed to ask."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tune_mnist.config import require


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What Ray may use."""

    cpus_per_trial: float = 1.0
    """CPUs per trial; its number of threads is this rounded down, at least 1."""
    gpus_per_trial: float = 0.0
    """GPUs per trial, fractions allowed."""
    address: str | None = None
    """A running Ray cluster to join (auto or HOST:PORT) instead of starting Ray on this machine."""
    max_failures: int = 3
    """How often a training is retried, from its last epoch, before it counts as failed."""
    trial_timeout: float | None = None
    """Seconds without a new epoch after which a trial counts as hung and is retried."""

    def __post_init__(self) -> None:
        require(self.cpus_per_trial > 0, "cpus_per_trial > 0", self.cpus_per_trial, "raise --cpus-per-trial")
        require(self.gpus_per_trial >= 0, "gpus_per_trial >= 0", self.gpus_per_trial, "raise --gpus-per-trial")
        require(self.max_failures >= 0, "max_failures >= 0", self.max_failures, "raise --max-failures")
        timeout = self.trial_timeout
        require(timeout is None or timeout > 0, "trial_timeout > 0", timeout, "raise --trial-timeout")
        known = self.address is None or re.fullmatch(r"auto|(ray://)?[^\s/]+:\d{1,5}", self.address) is not None
        require(known, "address is auto or HOST:PORT", repr(self.address), "change --address")

    @property
    def threads(self) -> int:
        """CPU threads of a trial."""
        return max(1, int(self.cpus_per_trial))

    @property
    def device(self) -> str:
        """Device type of a trial."""
        return "cuda" if self.gpus_per_trial else "cpu"

    def check_this_machine(self) -> None:
        """Check that this machine can hold one trial, unless a cluster is to be joined, which only Ray can ask.

        Raises:
            UserError: the machine has fewer CPUs or GPUs than one trial asks for.
        """
        if self.address is not None:
            return
        gpus = 0.0
        if self.gpus_per_trial:
            import torch

            gpus = float(torch.cuda.device_count())
        self.check([{"CPU": float(os.cpu_count() or 1), "GPU": gpus}])

    def check(self, nodes: Iterable[Mapping[str, float]]) -> None:
        """Check that some node, given as its amounts of "CPU" and "GPU", can hold one trial.

        Raises:
            UserError: none has as many CPUs or GPUs as one trial asks for; Ray would wait for ever.
        """
        nodes = list(nodes)
        for name, kind in (("cpus_per_trial", "CPU"), ("gpus_per_trial", "GPU")):
            most = max((node.get(kind, 0.0) for node in nodes), default=0.0)
            wanted, flag = getattr(self, name), name.replace("_", "-")
            require(wanted <= most, f"{name} <= {most:g}", f"{wanted:g}", f"lower --{flag}: no node has more {kind}s")
