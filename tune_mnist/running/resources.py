"""What Ray may use for a run, and whether a machine has it; no Ray needed to ask."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tune_mnist.running.surroundings import usable_processors
from tune_mnist.spec.errors import UserError, require

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # with empty settings (RFC 9113, section 3.4)


def check_port(address: str, given: str | None = None) -> None:
    """Raise `UserError`, naming the address as it was `given`, unless something listens at HOST:PORT and answers gRPC.

    Ray's own client would wait for what stays silent, and print warnings.
    """
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            with contextlib.suppress(ConnectionError):  # of a server that wants TLS
                connection.sendall(PREFACE)
                connection.recv(1)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"no Ray cluster to join at {given or address} ({reason}): check --address") from None


@dataclass(frozen=True, eq=False)
class Node:
    """A live node: its address, what it has in all and free of "CPU", "GPU" and the like, and its labels."""

    address: str
    total: Mapping[str, float]
    free: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What Ray may use."""

    cpus_per_trial: float = 1.0
    """CPUs per trial; its number of threads is this rounded down, at least 1. Fully connected models use one thread."""
    gpus_per_trial: float = 0.0
    """GPUs per trial, fractions allowed: 0.25 puts four trials on a GPU, each with its share of the memory."""
    accelerator_type: str | None = None
    """Run trials only on nodes with this accelerator, by Ray's name for it (H100, A100, L4, …)."""
    labels: tuple[str, ...] = ()
    """Run trials only on nodes with these Ray labels, each KEY=VALUE."""
    address: str | None = None
    """A running Ray cluster to join (auto or HOST:PORT) instead of starting Ray on this machine."""
    max_failures: int = 3
    """How often a training is retried, from its last epoch, before it counts as failed."""
    trial_timeout: float | None = None
    """Seconds without a new epoch, for each of its trainings, after which a trial counts as hung and is retried."""

    def __post_init__(self) -> None:
        require(self.cpus_per_trial > 0, "cpus_per_trial > 0", self.cpus_per_trial, "raise --cpus-per-trial")
        require(self.gpus_per_trial >= 0, "gpus_per_trial >= 0", self.gpus_per_trial, "raise --gpus-per-trial")
        require(self.max_failures >= 0, "max_failures >= 0", self.max_failures, "raise --max-failures")
        timeout = self.trial_timeout
        require(timeout is None or timeout > 0, "trial_timeout > 0", timeout, "raise --trial-timeout")
        known = self.address is None or re.fullmatch(r"auto|[^\s/]+:\d{1,5}", self.address) is not None
        require(known, "address is auto or HOST:PORT", repr(self.address), "change --address")
        wrong = [label for label in self.labels if not re.fullmatch(r"[^=\s]+=\S*", label)]
        require(not wrong, "each label is KEY=VALUE", ", ".join(wrong), "change --labels")
        chosen = not (self.accelerator_type or self.labels) or self.address is not None
        require(chosen, "accelerator types and labels are a cluster's", "no --address", "give --address")

    @property
    def threads(self) -> int:
        """CPU threads of a trial."""
        return max(1, int(self.cpus_per_trial))

    @property
    def device(self) -> str:
        """Device type of a trial."""
        return "cuda" if self.gpus_per_trial else "cpu"

    @property
    def demand(self) -> dict[str, float]:
        """What one trial takes of a node, by Ray's names."""
        demand = {"CPU": self.cpus_per_trial, "GPU": self.gpus_per_trial}
        return {name: amount for name, amount in (demand | self.special).items() if amount}

    @property
    def special(self) -> dict[str, float]:
        """What of the demand is neither CPUs nor GPUs: a token amount of what marks the accelerator's nodes."""
        return {f"accelerator_type:{self.accelerator_type}": 0.001} if self.accelerator_type else {}

    @property
    def label_selector(self) -> dict[str, str]:
        """The labels that a node must have."""
        return dict(label.split("=", 1) for label in self.labels)

    def check_this_machine(self) -> None:
        """Check that this machine can hold one trial or, of a cluster to be joined, that something listens there.

        Raises:
            UserError: the machine has fewer CPUs or GPUs than one trial asks for, or nobody listens.
        """
        if self.address is not None:
            if self.address != "auto":
                check_port(self.address)
            return
        gpus = 0.0
        if self.gpus_per_trial:
            import torch

            gpus = float(torch.cuda.device_count())
        self.check([Node("this machine", {"CPU": float(usable_processors()), "GPU": gpus})])

    def check(self, nodes: Iterable[Node]) -> None:
        """Check that some node can hold one trial.

        Raises:
            UserError: none has the accelerator, the labels, or as many CPUs or GPUs as one trial asks for;
                Ray would wait for ever.
        """
        nodes = [node for node in nodes if self.label_selector.items() <= node.labels.items()]
        require(bool(nodes or not self.labels), f"a node has {' and '.join(self.labels)}", "none", "change --labels")
        for name in self.special:
            present = {kind for node in nodes for kind in node.total if kind.startswith("accelerator_type:")}
            types = ", ".join(kind.split(":")[1] for kind in sorted(present)) or "none"
            rule = f"a node has accelerator {self.accelerator_type}"
            require(name in present, rule, types, "change --accelerator-type")
            nodes = [node for node in nodes if name in node.total]
        for name, kind in (("cpus_per_trial", "CPU"), ("gpus_per_trial", "GPU")):
            most = max((node.total.get(kind, 0.0) for node in nodes), default=0.0)
            wanted, flag = getattr(self, name), name.replace("_", "-")
            require(wanted <= most, f"{name} <= {most:g}", f"{wanted:g}", f"lower --{flag}: no node has more {kind}s")
        demand = ", ".join(f"{amount:g} {name}" for name, amount in self.demand.items())
        require(any(self.can_hold(node) for node in nodes), f"one node has {demand}", "none", "ask less per trial")

    def can_hold(self, node: Node) -> bool:
        """Whether the node, were it idle, could hold a trial."""
        return self._fits(node, node.total)

    def has_room(self, node: Node) -> bool:
        """Whether the node could take one more trial now."""
        return self._fits(node, node.free)

    def _fits(self, node: Node, amounts: Mapping[str, float]) -> bool:
        labelled = self.label_selector.items() <= node.labels.items()
        return labelled and all(amounts.get(name, 0.0) >= wanted for name, wanted in self.demand.items())
