"""What each part of the CNN's recipe brings, on held-out training pictures: the table in cnn_best.toml's header.

Each variant is the recipe with one part changed, trained with 3 seeds on the holdout protocol's 50,000 training
pictures for the recipe's epochs, and scored on its 10,000 validation pictures; the test set is not touched. It
takes about 45 minutes on two cores, a training on each; stopped at any time, it goes on with the missing trainings:

    python experiments/cnn_ablation.py                 # all of it
    python experiments/cnn_ablation.py --table         # what there is so far
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from tune_mnist.spec.toml import read_spec
from tune_mnist.spec.training import PlannedTraining
from tune_mnist.study.files import read_json, write_json
from tune_mnist.tables.statistics.difference import over_seeds
from tune_mnist.training.batches import make_pictures
from tune_mnist.training.dataset import load_dataset, training_data
from tune_mnist.training.loop import Training, fit

SEEDS = 3
VARIANTS: dict[str, dict[str, object]] = {
    "the recipe": {},
    "without augmentation": {"rotation": 0, "translation": 0, "scaling": 0, "shear": 0},
    "without label smoothing": {"label_smoothing": 0},
    "constant rate, no warm-up": {"schedule": "constant", "warmup_epochs": 0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(__file__).with_suffix(""), help="of a file per training")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if not args.table:
        args.folder.mkdir(parents=True, exist_ok=True)
        run_missing(args.folder)
    print_table(args.folder)


def trainings(folder: Path) -> Iterator[tuple[str, PlannedTraining, Path]]:
    """Every variant with every seed and the file of its result; all variants of a seed before the next seed."""
    spec = dataclasses.replace(read_spec(Path(__file__).with_name("cnn_best.toml")), seeds=SEEDS)
    for plan in spec.trainings():
        for name, values in VARIANTS.items():
            path = folder / f"{name.replace(' ', '_').replace(',', '')}-seed-{plan.config.seed}.json"
            config = dataclasses.replace(plan.config, **values)  # type: ignore[arg-type]
            yield name, dataclasses.replace(plan, config=config), path


def run_missing(folder: Path) -> None:
    """Train what has no result yet, a training on each core."""
    missing = [(name, plan, path) for name, plan, path in trainings(folder) if not path.exists()]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        running = [pool.submit(train, *one) for one in missing]
        for done in as_completed(running):
            print(done.result(), flush=True)


def train(name: str, plan: PlannedTraining, path: Path) -> str:
    """Train on one thread and write the result; return a line that tells it."""
    data = training_data(load_dataset(), "holdout")
    pictures = make_pictures(data.train_images, data.train_labels)
    validation = make_pictures(data.eval_images, data.eval_labels)
    start = time.process_time()
    epochs = [dataclasses.asdict(epoch) for epoch in fit(Training(plan.config, pictures, validation), plan.epochs)]
    seconds = time.process_time() - start
    write_json(path, {"config": dataclasses.asdict(plan.config), "cpu_seconds": seconds, "epochs": epochs})
    accuracy = epochs[-1]["evaluation"]["accuracy"]
    return f"{name}, seed {plan.config.seed}: {accuracy:.2%}, {seconds:.0f} s"


def print_table(folder: Path) -> None:
    """Validation accuracy per variant over its finished seeds, and the paired difference to the recipe's."""
    found: dict[str, dict[int, float]] = {name: {} for name in VARIANTS}
    for name, plan, path in trainings(folder):
        if path.exists():
            accuracy = read_json(path)["epochs"][-1]["evaluation"]["accuracy"]
            found[name][plan.config.seed] = accuracy
    print(f"{'variant':<28}{'n':>2}{'mean':>9}{'std':>8}   difference to the recipe (95%, paired)")
    for name, sample in found.items():
        values = list(sample.values())
        if len(values) < 2:
            continue
        recipe = found["the recipe"]
        one = over_seeds(np.array([sample[seed] - recipe[seed] for seed in sorted(sample.keys() & recipe.keys())]))
        low, high = one.interval()
        told = f"{one.value:+.2%} ({low:+.2%} to {high:+.2%})"
        told = "" if name == "the recipe" else told
        print(f"{name:<28}{len(values):>2}{np.mean(values):>9.2%}{np.std(values, ddof=1):>8.2%}   {told}".rstrip())


if __name__ == "__main__":
    main()
