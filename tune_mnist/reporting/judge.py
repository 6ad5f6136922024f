"""The report's claims C1 to C10 judged from a study's tables, and the command that prints the verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from tune_mnist.cli import leave, parse, run

if TYPE_CHECKING:
    from tune_mnist.analysis import Tables
    from tune_mnist.evidence import Evidence, Verdict


def judge(tables: Tables, others: Sequence[Tables] = ()) -> list[Verdict]:
    """The verdict on each claim from a study's tables; `others` may supply what these lack."""
    from tune_mnist.claims_models import c8, c9, c10
    from tune_mnist.claims_sweep import c1, c2, c3, c4, c5, c6, c7
    from tune_mnist.evidence import Evidence

    same_first = sorted(others, key=lambda other: other.protocol != tables.protocol)
    evidence = Evidence(tables, tuple(same_first))
    return [_judged(claim, evidence) for claim in (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10)]


def _judged(claim: Callable[[Evidence], Verdict], evidence: Evidence) -> Verdict:
    from tune_mnist.evidence import Lacking, Part, Verdict

    try:
        return claim(evidence)
    except Lacking as lacking:
        text = str(claim.__doc__).partition("\n")[0]
        part = Part("not judged", "undecided", str(lacking))
        return Verdict(claim.__name__.upper(), text, (part,), command=lacking.command)


def as_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON values; a number that is not finite is None."""
    from tune_mnist.store import finite_or_none

    numbers = {name: finite_or_none(float(value)) for name, value in verdict.numbers.items()}
    return {**asdict(verdict), "verdict": verdict.verdict, "numbers": numbers}


@dataclass(frozen=True)
class ClaimsArgs:
    """A study whose claims to judge."""

    studies: Positional[tuple[Path, ...]]
    """The study's folder, such as ray_results/report; further studies may supply what it lacks."""
    json: bool = False
    """Print the verdicts as one JSON array."""


def main(argv: Sequence[str] | None = None) -> int:
    """Judge the report's claims by a finished study."""
    return run(lambda: _command(argv))


def _command(argv: Sequence[str] | None) -> int:
    args = parse(ClaimsArgs, argv, prog="python -m tune_mnist.claims", description=str(main.__doc__))
    from tune_mnist.config import require
    from tune_mnist.results import tables_of
    from tune_mnist.study import Study

    require(len(args.studies) > 0, "a study is named", "none", "name its folder, such as ray_results/report")
    tables, *others = (tables_of(Study(folder)) for folder in args.studies)
    verdicts = judge(tables, others)
    if args.json:
        print(json.dumps([as_json(verdict) for verdict in verdicts]))
    else:
        _print(verdicts, tables.method)
    return 0


def _print(verdicts: Sequence[Verdict], method: str) -> None:
    for verdict in verdicts:
        print(f"{verdict.claim:<4}{verdict.verdict.upper():<10} {verdict.text}")
        for part in verdict.parts:
            print(f"      {part.outcome:<10} {part.statement}: {part.detail}")
        if verdict.why:
            print(f"      {verdict.why.strip()}")
        if verdict.command:
            print(f"      supply it by: {verdict.command}")
    print(f"\n{method}")


if __name__ == "__main__":
    leave(main())
