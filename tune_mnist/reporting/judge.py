"""The report's claims C1 to C10 judged from studies' tables, as the report did it and set right, and printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tune_mnist.reporting.claims_models import c8, c9, c10
from tune_mnist.reporting.claims_sweep import c1, c2, c3, c4, c5, c6, c7
from tune_mnist.reporting.verdicts import (
    ABOUT,
    PROTOCOLS,
    RULE,
    TITLES,
    UNKNOWN,
    Claim,
    Column,
    Evidence,
    Lacking,
    Outcome,
    Statement,
    Verdict,
    verdict_of,
)
from tune_mnist.tables.analyse import Tables
from tune_mnist.training.packing import finite_or_none

CLAIMS: tuple[Claim, ...] = (c1, c2, c3, c4, c5, c6, c7, c8, c9, c10)


@dataclass(frozen=True)
class Judgement:
    """A claim of the report, and what came of it in both columns."""

    claim: str
    text: str
    as_reported: Verdict
    set_right: Verdict

    @property
    def columns(self) -> dict[Column, Verdict]:
        """The verdicts by column."""
        return {"as_reported": self.as_reported, "set_right": self.set_right}

    @property
    def judged(self) -> bool:
        """Whether the studies hold the cells to judge it by, in one column at least."""
        return any(verdict.judged for verdict in self.columns.values())

    @property
    def remark(self) -> str:
        """Where the report was right about what it measured, and whether it stays so."""
        return REMARKS.get((self.as_reported.verdict, self.set_right.verdict), "")


REMARKS: dict[tuple[Outcome, Outcome], str] = {
    ("confirmed", "confirmed"): "The report was right, and it stays right.",
    ("confirmed", "refuted"): "The report was right about what it measured; it does not hold where that is set right.",
    ("confirmed", "undecided"): "The report was right about what it measured; set right, it is undecided.",
    ("refuted", "confirmed"): "What the report measured does not repeat; set right, its claim holds.",
    ("refuted", "refuted"): "It does not hold, neither as the report measured it nor set right.",
    ("refuted", "undecided"): "What the report measured does not repeat; set right, it is undecided.",
}


def judge(tables: Tables, others: Sequence[Tables] = ()) -> list[Judgement]:
    """The verdicts on each claim from studies' tables, those of a column from its own kind of studies alone."""
    columns = {column: _evidence(column, [tables, *others]) for column in PROTOCOLS}
    return [
        Judgement(
            claim.__name__.upper(), " ".join(str(claim.__doc__).split()),
            **{column: _verdict(claim, evidence) for column, evidence in columns.items()},
        )
        for claim in CLAIMS
    ]


def _evidence(column: Column, studies: Sequence[Tables]) -> Evidence:
    """The studies of the column's protocol that are on the first one's pictures."""
    own = [tables for tables in studies if tables.protocol == PROTOCOLS[column]]
    return Evidence(column, tuple(tables for tables in own if tables.data_sha256 == own[0].data_sha256))


def _verdict(claim: Claim, evidence: Evidence) -> Verdict:
    try:
        return claim(evidence)
    except Lacking as lacking:
        return verdict_of([Statement("not judged", UNKNOWN, "", str(lacking))], command=lacking.command, judged=False)


def json_of(judgement: Judgement) -> dict[str, Any]:
    """A judgement as plain JSON values; a number that is not finite is None."""
    columns: dict[str, Any] = {
        column: {
            **asdict(verdict), "verdict": verdict.verdict,
            "numbers": {name: finite_or_none(float(value)) for name, value in verdict.numbers.items()},
        }
        for column, verdict in judgement.columns.items()
    }
    return {"claim": judgement.claim, "text": judgement.text, "remark": judgement.remark, **columns}


def print_judgements(judgements: Sequence[Judgement], method: str, *, as_json: bool = False) -> None:
    """Print the judgements to stdout, both verdicts with their parts and reasons, or as one JSON array."""
    if as_json:
        print(json.dumps([json_of(judgement) for judgement in judgements]))
        return
    print(f"{ABOUT}\n\n{RULE}\n")
    for judgement in judgements:
        print(f"{judgement.claim:<4}{judgement.text}")
        for column, verdict in judgement.columns.items():
            print(f"    {TITLES[column]}: {verdict.verdict.upper()}")
            for part in verdict.parts:
                by = f" ({part.test})" if part.test else ""
                print(f"      {part.outcome:<10} {part.statement}: {part.detail}{by}")
            if verdict.why:
                print(f"      {verdict.why}")
            if verdict.command:
                print(f"      supply it by: {verdict.command}")
        if judgement.remark:
            print(f"    {judgement.remark}")
    print(f"\n{method}")
