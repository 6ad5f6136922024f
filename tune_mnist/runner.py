"""Ray: connect, check feasibility, run a list of trainings, show progress, stop cleanly."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.search import Searcher
from rich.console import Console

from tune_mnist.batches import Pictures
from tune_mnist.config import PREFIX, Context, PlannedTraining, TrainingConfig, UserError
from tune_mnist.display import Display, RunState
from tune_mnist.models import MODELS
from tune_mnist.resources import Resources
from tune_mnist.store import Study
from tune_mnist.trial import TrialData, one_line, run_trial, score_training

# Ray's own tables, loggers and SIGINT handling are replaced by ours; workers stay in the driver's folder.
RAY_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
}


@contextlib.contextmanager
def ray_session(resources: Resources, console: Console) -> Iterator[None]:
    """Start Ray on this machine, on loopback, or join `resources.address`; shut down at the end."""
    os.environ.update({name: os.environ.get(name, value) for name, value in RAY_ENVIRONMENT.items()})
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if resources.address is None:
        options |= {"_temp_dir": private_folder(), "_node_ip_address": "127.0.0.1", "dashboard_host": "127.0.0.1"}
        options |= {"include_dashboard": True, "object_store_memory": 512 * 2**20}
    else:
        options["address"] = resources.address
    try:
        info = ray.init(**options)
    except ConnectionError as error:
        raise UserError(f"no Ray cluster at {resources.address}: {one_line(error)}: check --address") from None
    try:
        protect_token()
        resources.check([node["Resources"] for node in ray.nodes() if node["Alive"]])
        if info.dashboard_url:
            where = f"http://{info.dashboard_url} (its token: `ray get-auth-token`)"
            console.print(f"Ray dashboard: {where}", highlight=False, soft_wrap=True)
        yield
    finally:
        ray.shutdown()


def private_folder() -> str:
    """A folder for Ray's sessions that only this user can enter; short, as socket paths must be."""
    folder = Path(tempfile.gettempdir()) / f"tune_mnist-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to another user: set TMPDIR to a folder of your own")
    folder.chmod(0o700)
    return str(folder / "ray")  # which Ray itself makes open to all


def protect_token() -> None:
    """Make Ray's token file, which Ray creates readable by all, readable by its owner alone."""
    with contextlib.suppress(FileNotFoundError):
        (Path.home() / ".ray" / "auth_token").chmod(0o600)


class Listed(Searcher):
    """Hands out given configs in their order."""

    def __init__(self, configs: list[dict[str, Any]]) -> None:
        super().__init__()
        self.configs = iter(configs)

    def suggest(self, trial_id: str) -> Any:
        return next(self.configs, Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing to learn."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the study is the truth about what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Never used."""


class Watch(tune.Callback):
    """Tells the display what happens, and ends trials that hang."""

    def __init__(self, display: Display, timeout_seconds: float | None) -> None:
        self.display, self.timeout_seconds = display, timeout_seconds
        self.heard: dict[Any, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that never happens here

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.heard[trial] = time.monotonic()
        self.display.state.start(config_of(trial.config))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.heard[trial] = time.monotonic()
        self.display.state.epoch(config_of(trial.config), result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.heard.pop(trial, None)
        self.display.state.end(config_of(trial.config), "complete")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.heard.pop(trial, None)
        self.display.state.end(config_of(trial.config), "failed")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.display.update()
        for trial, heard in list(self.heard.items()):
            if self.timeout_seconds is not None and time.monotonic() - heard > self.timeout_seconds:
                self.heard[trial] = time.monotonic()
                ray.kill(trial.temporary_state.ray_actor, no_restart=True)


def config_of(trial_config: dict[str, Any]) -> TrainingConfig:
    """The training's config in a trial's config, which also has the epochs to run to."""
    return TrainingConfig(**{name: value for name, value in trial_config.items() if name != "epochs"})


def cost_order(plan: PlannedTraining) -> tuple[Any, ...]:
    """Sort key that puts long trainings first, so that no core idles at the end."""
    config = plan.config
    return (-list(MODELS).index(config.model), config.batch_size, -plan.epochs, config.lr, config.seed)


def run_trainings(
    plans: Sequence[PlannedTraining], data: TrialData, context: Context, study: Study, resources: Resources,
    console: Console,
) -> tune.ResultGrid:
    """Run the trainings under Ray Tune, in an open `ray_session`; results go to the study as they come.

    Raises:
        KeyboardInterrupt: on the first Ctrl-C or SIGTERM, after the trials were stopped; every finished
            epoch is in the study. On the second, at once.
    """
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, data=data, context=context, trainings=str(study.folder / "trainings")),
        {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
    )
    ordered = sorted(plans, key=cost_order)
    configs = [{**dataclasses.asdict(plan.config), "epochs": plan.epochs} for plan in ordered]
    with Display(RunState(ordered, f"{PREFIX[context.protocol]}_accuracy"), console) as display:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=Listed(configs), num_samples=len(configs), reuse_actors=True,
                trial_name_creator=trial_name, trial_dirname_creator=trial_name,
            ),
            run_config=tune.RunConfig(
                storage_path=str(study.folder / "ray"), name=time.strftime("%Y%m%d-%H%M%S"), verbose=0,
                callbacks=[JsonLoggerCallback(), Watch(display, resources.trial_timeout)],
                failure_config=tune.FailureConfig(max_failures=resources.max_failures),
            ),
        )
        with stops_on_signals() as stopped:
            results = tuner.fit()
    if stopped():
        raise KeyboardInterrupt
    return results


def trial_name(trial: Any) -> str:
    """A readable and unique name: the config's label and the trial's number."""
    return f"{config_of(trial.config).label}-{trial.trial_id.split('_')[-1]}"


@contextlib.contextmanager
def stops_on_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into Tune's graceful stop and the second into KeyboardInterrupt.

    Yields a function that tells whether a signal came.
    """
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGUSR1)  # Tune stops on it; its SIGINT handler is off

    handled = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in handled]
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in zip(handled, before, strict=True):
            signal.signal(number, handler)


def score_winners(
    winners: list[tuple[TrainingConfig, int]], data: TrialData, test: Pictures, context: Context, study: Study
) -> None:
    """Score trainings at the given epochs on the test set, in parallel in an open `ray_session`, into the study."""
    remote = ray.remote(score_training)
    shared = ray.put(data), ray.put(test)
    trainings = str(study.folder / "trainings")
    ray.get([remote.remote(config, epoch, *shared, context, trainings) for config, epoch in winners])
