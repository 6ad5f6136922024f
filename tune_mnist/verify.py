"""The verify command: a study's every checksum and table, and one training, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tune_mnist.shell.cli import command, leave
from tune_mnist.spec.choices import TrustCode

DESCRIPTION = (
    "Check a study: every checksum, every table against the trainings, one training against a second run of it."
)


@dataclass(frozen=True)
class VerifyArgs:
    """A study to check."""

    study: Positional[Path]
    """The study's folder, such as ray_results/grid, or s3://BUCKET/PREFIX/NAME."""
    replay: str | None = None
    """Also train this training (its folder's name under trainings/) again, and compare its metrics."""
    trust_code: TrustCode = False
    data: Path | None = None
    """Where the data of --replay is now, if not where the study found it."""
    json: bool = False
    """Print the outcome as one JSON object."""


def _verify(args: VerifyArgs) -> int:
    from tune_mnist.reporting.verification import print_problems, problems, replay
    from tune_mnist.study.storage.opening import storage_at
    from tune_mnist.study.study import Study

    study = Study(storage_at(args.study))
    study.storage.refuse_if_held()
    found = list(problems(study))
    if args.replay is not None:
        found += replay(study, args.replay, args.data, trusted=args.trust_code)
    print_problems(study, found, args.replay, as_json=args.json)
    return int(bool(found))


main = command("verify", VerifyArgs, _verify, DESCRIPTION)

if __name__ == "__main__":
    leave(main())
