"""Write everything that is published of the curated runs again: their tables, two pages, and the README's results.

    python experiments/curated.py

To be run after more seeds were trained, and after any change of what the tables, pages or verdicts say. Nothing is
trained; what the claims lack, and the command that trains it, the pages say.
"""

from __future__ import annotations

import sys
from pathlib import Path

import readme_results

from tune_mnist.reporting.publish import write_results
from tune_mnist.study.files import read_json, write_atomic, write_json
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import write_tables
from tune_mnist.tables.of_study import tables_of

PAGES = ("holdout", "report")  # these two have figures and a page too, each with all the others as further studies
EXAMPLE = "settings"  # has a page of its own, and nothing to do with the report


def thin(study: Study) -> None:
    """Drop which pictures are right after the epochs that no cell shows: a third of the bytes of the report's grid."""
    shown = {epochs for spec in study.specs() for epochs in spec.epochs}
    for path in study.folder.glob("trainings/**/history.json"):
        content = read_json(path)
        dropped = [
            {name: value for name, value in row.items() if row["epoch"] in shown or not name.endswith("_correct")}
            for row in content["epochs"]
        ]
        if dropped != content["epochs"]:
            write_json(path, content | {"epochs": dropped})


def main() -> int:
    folders = [readme_results.ROOT / "ray_results" / name for name in readme_results.STUDIES]
    studies = [Study(folder) for folder in folders if (folder / "study.json").exists()]
    for study in studies:
        thin(study)
    tables = {study.name: tables_of(study) for study in studies}
    for study in studies:
        others = [(name, other) for name, other in tables.items() if name != study.name]
        if study.name in PAGES:
            write_results(study, tables[study.name], others)
        else:
            write_tables(tables[study.name], study.folder, write_atomic)
        print(Path("ray_results") / study.name, flush=True)
    example = Study(readme_results.ROOT / "ray_results" / EXAMPLE)
    thin(example)
    write_results(example, tables_of(example))
    sys.argv = sys.argv[:1]
    return readme_results.main()


if __name__ == "__main__":
    sys.exit(main())
