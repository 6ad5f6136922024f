"""The report's claims C1 to C10 judged from a study's tables, and printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tune_mnist.reporting.claims_models import c8, c9, c10
from tune_mnist.reporting.claims_sweep import c1, c2, c3, c4, c5, c6, c7
from tune_mnist.reporting.verdicts import Claim, Evidence, Lacking, Part, Verdict, verdict_of
from tune_mnist.tables.analyse import Tables
from tune_mnist.training.packing import finite_or_none

CLAIMS: tuple[Claim, ...] = (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10)


def judge(tables: Tables, others: Sequence[Tables] = ()) -> list[Verdict]:
    """The verdict on each claim from a study's tables; `others` may supply what these lack."""
    same_first = sorted(others, key=lambda other: other.protocol != tables.protocol)
    evidence = Evidence(tables, tuple(same_first))
    return [_verdict(claim, evidence) for claim in CLAIMS]


def _verdict(claim: Claim, evidence: Evidence) -> Verdict:
    try:
        return claim(evidence)
    except Lacking as lacking:
        return verdict_of(claim, [Part("not judged", "undecided", str(lacking))], command=lacking.command)


def json_of(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON values; a number that is not finite is None."""
    numbers = {name: finite_or_none(float(value)) for name, value in verdict.numbers.items()}
    return {**asdict(verdict), "verdict": verdict.verdict, "numbers": numbers}


def print_verdicts(verdicts: Sequence[Verdict], method: str, *, as_json: bool = False) -> None:
    """Print the verdicts to stdout, each with its parts and reasons and then the `method`, or as one JSON array."""
    if as_json:
        print(json.dumps([json_of(verdict) for verdict in verdicts]))
        return
    for verdict in verdicts:
        print(f"{verdict.claim:<4}{verdict.verdict.upper():<10} {verdict.text}")
        for part in verdict.parts:
            print(f"      {part.outcome:<10} {part.statement}: {part.detail}")
        if verdict.why:
            print(f"      {verdict.why.strip()}")
        if verdict.command:
            print(f"      supply it by: {verdict.command}")
    print(f"\n{method}")
