"""Fill the README's results from the curated runs: the finding in words, one figure, the top three, the verdicts.

    python experiments/readme_results.py             # rewrite what stands between the README's markers
    python experiments/readme_results.py --check     # exit 1 if that would change it

Reads the curated studies in ray_results/: their top3.csv, summary.csv and trainings. No number is typed in.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from tune_mnist.reporting.judge import Judgement, judge
from tune_mnist.reporting.verdicts import TITLES
from tune_mnist.study.files import write_atomic
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.of_study import tables_of
from tune_mnist.tables.standings import BEST, EQUIVALENT

ROOT = Path(__file__).resolve().parents[1]
FIGURE = "heatmap_lr_batch_size"
STUDIES = (
    "holdout", "report", "eased", "eased_holdout", "augmented", "augmented_holdout", "cnn", "cnn_holdout",
)


REPORTS_BEST = {"model": "MediumNN", "lr": 1e-4, "batch_size": 16, "epochs": 15}


def blocks(studies: list[Path], root: Path) -> dict[str, str]:
    """What stands between each pair of the README's markers, by its name; the first study is the one shown."""
    tables, *further = (tables_of(Study(study)) for study in studies)
    return {"finding": finding(tables), "results": results(studies, tables, further, root)}


def finding(tables: Tables) -> str:
    """What the study found of winners, in words."""
    top3, seeds = tables.top3, _counted(int(tables.summary["n"].max()), "seed")
    ties = len(top3) - int((top3["standing"] == BEST).sum())
    equals = f"{ties} of {len(tables.summary)} cells cannot be told from the third best"
    equivalent = int((top3["standing"] == EQUIVALENT).sum())
    if equivalent:
        equals += f", and {equivalent} of them are shown to be within half a point of it"
    (at,) = np.nonzero((top3[list(REPORTS_BEST)] == list(REPORTS_BEST.values())).all(axis=1))
    report = f"The report's winner, number {top3['rank'].iloc[at[0]]} here, is one of many equals." if len(at) else ""
    return "\n".join(filter(None, [f"Its finding: with {seeds} of each, {equals}.", report]))


def results(studies: list[Path], tables: Tables, further: list[Tables], root: Path) -> str:
    """The README's results in Markdown, from the study shown first; the others supply what its claims lack."""
    first, *others = studies
    where = Path(os.path.relpath(first, root)).as_posix()
    best = tables.top3[tables.top3["standing"] == BEST]
    ties = len(tables.top3) - len(best)
    judgements = judge(tables, further)
    names = "".join(f" {Path(os.path.relpath(other, root)).as_posix()}" for other in others)
    return "\n".join([
        f"![Accuracy by learning rate and batch size]({where}/figures/{FIGURE}.png)",
        "",
        *_table(best),
        "",
        f"{len(tables.summary)} cells, {_counted(int(tables.summary['n'].max()), 'seed')} each; "
        f"{_counted(ties, 'more cell')} not distinguishable from the third. {tables.method}",
        "",
        *_verdicts(judgements),
        "",
        f"Why, and by which tests: `python -m tune_mnist.claims {where}{names}`, or the page "
        f"[{where}/report.html]({where}/report.html).",
    ])


def _verdicts(judgements: list[Judgement]) -> list[str]:
    """The claims' verdicts as a Markdown table, a row per claim and a column per way to judge it."""
    lines = [f"| the report's claim | {' | '.join(TITLES.values())} |", "| --- | --- | --- |"]
    for judgement in judgements:
        verdicts = [verdict.verdict for verdict in judgement.columns.values()]
        lines.append(f"| {judgement.claim}: {judgement.text} | {' | '.join(verdicts)} |")
    return lines


def _table(best: pd.DataFrame) -> list[str]:
    tested = "test_accuracy" in best
    split = "validation" if tested else "test"
    heads = ["", "model", "lr", "batch", "epochs", f"{split} accuracy", *(["test accuracy"] if tested else [])]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in best.to_dict("records"):
        cells = [str(row["rank"]), row["model"], f"{row['lr']:g}", str(row["batch_size"]), str(row["epochs"])]
        cells.append(_accuracy(row["mean"], row["ci_low"], row["ci_high"]))
        if tested:
            cells.append(_accuracy(row["test_accuracy"], row["test_ci_low"], row["test_ci_high"]))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _accuracy(share: float, low: float, high: float) -> str:
    if share != share:
        return "–"
    return f"{100 * share:.2f}%" + (f" ({100 * low:.2f} – {100 * high:.2f})" if low == low else "")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def filled(readme: str, name: str, content: str) -> str:
    """`readme` with `content` between the markers of this name.

    Raises:
        ValueError: it has not each marker once.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if readme.count(start) != 1 or readme.count(end) != 1:
        raise ValueError(f"the README needs {start} and {end}, once each")
    head, _, rest = readme.partition(start)
    return f"{head}{start}\n{content}\n{end}{rest.partition(end)[2]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", type=Path, help="studies, the one shown first; default: the curated")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the README is not up to date")
    args = parser.parse_args()
    curated = [ROOT / "ray_results" / name for name in STUDIES]
    studies = args.studies or [folder for folder in curated if (folder / "study.json").exists()]
    if not studies:
        print("error: no curated run in ray_results: name a study", file=sys.stderr)
        return 2
    old = new = args.readme.read_text(encoding="utf-8")
    for name, content in blocks([study.resolve() for study in studies], args.readme.resolve().parent).items():
        new = filled(new, name, content)
    if args.check:
        return int(old != new)
    if old != new:
        write_atomic(args.readme, new.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
