"""The retrain command: the best config trained on all training pictures, scored once on the test set, kept."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from tune_mnist.cli import leave, parse, print_table, run, spec_from_argv
from tune_mnist.config import StudySpec, TrainingConfig, UserError, check_study_name, require, training_key

if TYPE_CHECKING:
    from rich.console import Console

    from tune_mnist.data import Dataset
    from tune_mnist.retraining import Retraining, Watch
    from tune_mnist.study import Study

DESCRIPTION = """Retrain a study's best config on all training pictures and score it once on the test set.

Name a study's folder (its best cell is taken), or a SPEC.toml of one cell, or give the cell by flags:
--models, --lr, --batch-size and --epochs with one value each. The model lands in the study's folder
best/, ready for predict and serve. The same command again goes on from the last checkpoint."""

LINE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class RetrainArgs:
    """What to retrain, and where and how."""

    study: Positional[Path | None] = None
    """A study's folder, such as ray_results/grid."""
    spec: StudySpec = field(default_factory=StudySpec)
    rank: int = 1
    """Which of the study's cells, the best being 1; others than the best land in rank-N/."""
    key: str | None = None
    """Instead of a rank: the key of one of the study's trainings, to its last epoch; lands in key-KEY/."""
    name: str = "retrain"
    """Without a study: the name of the folder under STORAGE; by default a spec's own."""
    storage: Path = Path("ray_results")
    """Without a study: folder of the results."""
    checkpoint_every: int = 500
    """Steps between checkpoints, of which the last 10 are kept."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    threads: int = 1
    """CPU threads; another number rounds differently."""
    robustness: bool = False
    """Also measure accuracy on distorted test pictures, of the first seed, trained with augmentation and without."""
    download: bool = False
    """Let torchvision download the data set of --dataset if it is not there."""
    json: bool = False
    """Print the outcome as one JSON object."""

    def __post_init__(self) -> None:
        check_study_name(self.name)
        require(self.rank >= 1, "rank >= 1", self.rank, "change --rank")
        require(self.rank == 1 or self.key is None, "one of rank and key", "both", "drop --rank or --key")
        require(self.checkpoint_every >= 1, "checkpoint_every >= 1", self.checkpoint_every, "raise --checkpoint-every")
        require(self.threads >= 1, "threads >= 1", self.threads, "raise --threads")
        if self.study is None:
            require(self.rank == 1 and self.key is None, "rank and key are a study's", "no study", "name its folder")
        else:
            plain = dataclasses.replace(self.spec, seeds=1) == StudySpec()
            require(plain, "a study's config is its own", "flags or a spec as well", "drop them, or the study")


@dataclass(frozen=True)
class Choice:
    """What is to be retrained: one config, with a seed or several, to an epoch, and the folder it lands in."""

    configs: tuple[TrainingConfig, ...]
    epochs: int
    folder: Path

    def folder_of(self, config: TrainingConfig) -> Path:
        """A folder for each seed: the first's is the choice's own."""
        first = config == self.configs[0]
        return self.folder if first else self.folder.with_name(f"{self.folder.name}-seed-{config.seed}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0, 2 on bad input, 130 if interrupted."""
    return run(lambda: _command(argv))


def _command(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    spec, words = spec_from_argv(words)
    named = [Path(word).stem for word in (sys.argv[1:] if argv is None else argv) if word not in words]
    default = RetrainArgs(spec=spec, name=named[0]) if named else RetrainArgs(spec=spec)
    args = parse(RetrainArgs, words, prog="python -m tune_mnist.retrain", description=DESCRIPTION, default=default)
    outcomes = run_retrain(args)
    if args.json:
        print(json.dumps(outcomes))
    else:
        _print_outcomes(outcomes)
    return 0


def run_retrain(args: RetrainArgs, console: Console | None = None) -> list[dict[str, Any]]:
    """Retrain what `args` name, a seed after the other; progress goes to `console` (stderr).

    Returns:
        For each seed its folder, config and metrics; for the first the robustness table's path too, if asked for.

    Raises:
        UserError: bad input, before anything is written.
        KeyboardInterrupt: stopped by a signal, with how to go on as its text.
    """
    from rich.console import Console

    from tune_mnist.files import make_folder
    from tune_mnist.lock import study_lock

    console = console or Console(stderr=True)
    _check_device(args.device)
    dataset, choice = _chosen(args)
    make_folder(choice.folder.parent, parents=True)
    with study_lock(choice.folder.parent):
        outcomes = []
        for config in choice.configs:
            folder = choice.folder_of(config)
            outcome = _retrained(args, config, choice.epochs, dataset, folder, console)
            if args.robustness and config == choice.configs[0]:
                outcome["robustness"] = str(_robustness(args, config, choice.epochs, dataset, folder, console))
            outcomes.append(outcome)
    return outcomes


def _check_device(device: str) -> None:
    if device == "cuda":
        import torch

        require(torch.cuda.is_available(), "device cuda has a GPU", "none here", "use --device cpu")


def _chosen(args: RetrainArgs) -> tuple[Dataset, Choice]:
    from tune_mnist.data import load_dataset

    if args.study is not None:
        return _of_study(args.study, args)
    spec = args.spec
    cells = len(spec.models) * len(spec.lr) * len(spec.batch_size) * len(spec.epochs)
    remedy = "name a study's folder, or give --models, --lr, --batch-size and --epochs one value each"
    require(cells == 1, "exactly one cell is named", cells, remedy)
    plans = spec.trainings()
    choice = Choice(tuple(plan.config for plan in plans), spec.epochs[0], args.storage.absolute() / args.name / "best")
    return load_dataset(spec.dataset, spec.data, download=args.download), choice


def _of_study(folder: Path, args: RetrainArgs) -> tuple[Dataset, Choice]:
    from tune_mnist.data import load_dataset, training_data
    from tune_mnist.spec_file import from_mapping
    from tune_mnist.study import Study

    study = Study(folder)
    spec = from_mapping(StudySpec, study.describe()["specs"][0], study.name)
    config, epochs = _keyed(study, args.key) if args.key else _ranked(study, args.rank)
    dataset = load_dataset(spec.dataset, spec.data, download=args.download)
    found, wanted = training_data(dataset, study.context().protocol).sha256, study.context().data_sha256
    require(found == wanted, f"the data of study {study.name} have SHA-256 {wanted}", found, "put its data back")
    seeds = range(args.spec.seeds) if args.spec.seeds > 1 else [config.seed]
    configs = tuple(dataclasses.replace(config, seed=seed) for seed in seeds)
    name = f"key-{args.key}" if args.key else "best" if args.rank == 1 else f"rank-{args.rank}"
    return dataset, Choice(configs, epochs, study.folder / name)


def _keyed(study: Study, key: str) -> tuple[TrainingConfig, int]:
    context = study.context()
    for plan in study.planned():
        if training_key(plan.config, context) == key:
            return plan.config, plan.epochs
    raise UserError(f"study {study.name} has no training with key {key}: see its folder trainings")


def _ranked(study: Study, rank: int) -> tuple[TrainingConfig, int]:
    """The config, with its first seed, and the epochs of the study's cell of this rank over its seeds."""
    from tune_mnist.results import tables_of
    from tune_mnist.standings import keys

    tables = tables_of(study)
    complete = tables.summary[tables.summary["status"] == "complete"]
    require(rank <= len(complete), f"rank <= {len(complete)}, the study's complete cells", rank, "lower --rank")
    columns = tables.cell_columns
    (cell,) = keys(complete[columns].iloc[[rank - 1]])
    wanted = dict(zip(columns, cell, strict=True))
    epochs = int(wanted.pop("epochs"))
    matching = [
        plan.config for plan in study.planned()
        if epochs in plan.budgets and all(getattr(plan.config, name) == value for name, value in wanted.items())
    ]
    return min(matching, key=lambda config: config.seed), epochs


def _retrained(
    args: RetrainArgs, config: TrainingConfig, epochs: int, dataset: Dataset, folder: Path, console: Console
) -> dict[str, Any]:
    from tune_mnist.retraining import finished_metrics, prepare, retrain

    job = prepare(config, epochs, dataset, folder, device=args.device, threads=args.threads)
    metrics = finished_metrics(job)
    if metrics is None:
        told = f"stopped; checkpoints are in {folder}: the same command goes on from the last of them"
        try:
            with _progress(job, console) as watch:
                metrics = retrain(job, args.checkpoint_every, watch)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(told) from None
    else:
        console.print(f"{config.label}: done already", highlight=False)
    return {"folder": str(folder), "config": dataclasses.asdict(config), "metrics": metrics}


def _robustness(
    args: RetrainArgs, config: TrainingConfig, epochs: int, dataset: Dataset, folder: Path, console: Console
) -> Path:
    """Measure and draw robustness into `folder`; a model that was trained with augmentation gets a twin without."""
    from tune_mnist.robustness import measure, write_robustness
    from tune_mnist.trained import load_trained

    models = {"augmented" if config.augments else "plain": load_trained(folder)}
    if config.augments:
        twin = dataclasses.replace(config, rotation=0.0, translation=0.0, scaling=0.0, shear=0.0)
        _retrained(args, twin, epochs, dataset, folder / "plain", console)
        models["plain"] = load_trained(folder / "plain")
    console.print("measuring robustness", highlight=False)
    table = measure(models, dataset.test_images, dataset.test_labels)
    return write_robustness(table, folder)


@contextmanager
def _progress(job: Retraining, console: Console) -> Iterator[Watch]:
    """A bar over the steps on a terminal, a line every 10 s elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tune_mnist.retraining import Stand

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task, shown = bar.add_task(job.config.label, total=job.steps), time.monotonic()

        def watch(stand: Stand) -> None:
            nonlocal shown
            epoch = min(job.epochs, len(stand.losses) + 1)
            loss = f", loss {stand.losses[-1]:.4f}" if stand.losses else ""
            told = f"{job.config.label}: epoch {epoch}/{job.epochs}{loss}"
            bar.update(task, completed=stand.step, description=told)
            if not console.is_terminal and time.monotonic() - shown >= LINE_SECONDS:
                shown = time.monotonic()
                console.print(f"{told}, step {stand.step}/{job.steps}", highlight=False, soft_wrap=True)

        yield watch


def _print_outcomes(outcomes: Sequence[dict[str, Any]]) -> None:
    import pandas as pd

    names = ("accuracy", "precision", "recall", "f1", "loss")
    rows = [
        {"seed": one["config"]["seed"], **{name: one["metrics"][name] for name in names}, "folder": one["folder"]}
        for one in outcomes
    ]
    table = pd.DataFrame(rows)
    first = outcomes[0]
    print_table(table, f"{first['config']['model']}, {first['metrics']['epochs']} epochs, on the test set")
    if len(table) > 1:
        mean, spread = table["accuracy"].mean(), table["accuracy"].std()
        print(f"mean accuracy {mean:.3%} over {len(table)} seeds, standard deviation {spread:.3%}")
    else:
        print_table(pd.DataFrame(first["metrics"]["per_class"]), "By digit")
    for one in outcomes:
        if "robustness" in one:
            print(f"robustness: {one['robustness']}")


if __name__ == "__main__":
    leave(main())
