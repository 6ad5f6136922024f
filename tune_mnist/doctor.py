"""The doctor command: whether this machine, or a cluster, is ready for a study, and what to do where not."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tune_mnist.running.resources import Resources
from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.errors import require
from tune_mnist.spec.places import STORAGE, check_storage_name

DESCRIPTION = """Say on one screen whether this machine is ready for a study, and with --address a cluster's every
node; where something is not right, what to do. Exit status: 0 ready, 1 not."""


@dataclass(frozen=True, kw_only=True)
class DoctorArgs:
    """What to look at."""

    address: str | None = None
    """A running Ray cluster (auto or HOST:PORT) to look at, too."""
    storage: Path = STORAGE
    """Folder of the studies, or a bucket: s3://BUCKET/PREFIX, gs://… or az://…."""
    gpu: bool = False
    """Instead train on this machine's GPU for at most 8 minutes: are its numbers right, and how fast is it?"""
    json: bool = False
    """Print one JSON object: ready, and checks with name, value and remedy; with --gpu: right, verdict and findings."""

    def __post_init__(self) -> None:
        Resources(address=self.address)
        require(not (self.gpu and self.address), "--gpu looks at this machine", "--address", "drop one of them")
        check_storage_name(self.storage)


def _doctor(args: DoctorArgs) -> int:
    return _check_gpu(args.json) if args.gpu else _check_machine(args)


def _check_gpu(as_json: bool) -> int:
    import torch

    if not torch.cuda.is_available():
        print("no GPU that torch can use: run it where there is one", file=sys.stderr)
        return 1
    from tune_mnist.running.gpu_check.check import check_gpu, print_findings
    from tune_mnist.running.gpu_check.scale import Scale

    return 1 - print_findings(check_gpu(Scale()), as_json=as_json)


def _check_machine(args: DoctorArgs) -> int:
    from tune_mnist.running.checks import machine_checks, print_checks

    checks = list(machine_checks(args.storage))
    if args.address is not None:  # which alone needs Ray
        from tune_mnist.running.cluster_checks import cluster_checks

        checks += cluster_checks(args.address, args.storage)
    print_checks(checks, as_json=args.json)
    return int(any(check.remedy is not None for check in checks))


main = command("doctor", DoctorArgs, _doctor, DESCRIPTION)

if __name__ == "__main__":
    leave(main())
