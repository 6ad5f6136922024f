"""What happens to a run's trials: shown, and ended where they hang or failed for good."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ray
from ray import tune

from tune_mnist.running.chains import configs_of, current_group, group_label, plans_of
from tune_mnist.running.nodes import live_nodes, waiting_line
from tune_mnist.running.resources import Resources
from tune_mnist.running.retries import EarlyEnd
from tune_mnist.running.starting import GIVE_UP_SECONDS, NoWorker, awaited, no_worker_line
from tune_mnist.running.trial import BROKEN, OUT_OF_MEMORY
from tune_mnist.running.watching.display import Display
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.training import Context, TrainingConfig, training_key
from tune_mnist.study.storage.bucket.problems import BucketError, NoAnswerError
from tune_mnist.study.study import Study

ACTOR_DIED = "The actor died"
LOW_ON_MEMORY = "due to the node running low on memory"
ENDING = {"WriteError": UserError, "BucketError": BucketError, "NoAnswerError": NoAnswerError}
"""Errors of workers that all trials would meet alike."""
WAITING_SECONDS = 10.0  # without a running trial, after which to say what it waits for
IDLE_SECONDS = 60.0  # after which to ask whether one can run at all
TELL_SECONDS = 60.0  # how often to say why no worker comes up


class Watch(tune.Callback):
    """Shows trials, records failures in the study, ends trials that hang, and stops a run that cannot go on."""

    def __init__(self, display: Display, study: Study, context: Context, resources: Resources) -> None:
        self.display, self.study, self.context, self.resources = display, study, context, resources
        self.heard_at: dict[Any, float] = {}
        """When each running trial was last heard of."""
        self.timeouts: dict[Any, str] = {}
        """The trials whose worker was killed here as hung, and the error of each."""
        self.actors: dict[str, Any] = {}
        """The trial that each actor, by Ray's id, ran last."""
        self.gpus: set[str] = set()
        """The kinds of GPU that trained."""
        self.problem: UserError | None = None
        """Why the run cannot go on."""
        self.early_ends: dict[TrainingConfig, EarlyEnd] = {}
        """Why the trials of trainings ended before these did, which may be tried again."""
        self.idle_since = self.said_waiting_at = time.monotonic()
        self.periods_told = 0
        """How many times `TELL_SECONDS` had passed when it was last said that no worker comes up."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that never happens here

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.heard_at[trial] = time.monotonic()
        self.actors[trial.temporary_state.ray_actor._actor_id.hex()] = trial
        for config in configs_of(trial):
            self.early_ends.pop(config, None)
        self._start_group(trial, again=True)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.heard_at[trial] = time.monotonic()
        if OUT_OF_MEMORY in result:
            self._end_early(self.running(trial), EarlyEnd("GPU memory", result[OUT_OF_MEMORY]))
            self._start_group(trial)
            return
        if BROKEN in result:
            line, text = result[BROKEN]
            for config in self.running(trial):
                self.fail(config, text, line)
            self._start_group(trial)
            return
        plan, state = plans_of(trial)[result["member"]], self.display.state
        self.study.storage.saved(training_key(plan.config, self.context), result["epoch"])
        state.epoch(plan.config, result)
        if result.get("diverged"):
            state.end(plan.config, "diverged")
        elif result["epoch"] == plan.epochs:
            state.end(plan.config, "complete")
        if plan.config in state.ended:
            self._start_group(trial)
        for damage in result.get("damage", ()):
            self.display.tell(f"warning: {damage}")
        self._note_gpu(result.get("gpu"))

    def _note_gpu(self, gpu: str | None) -> None:
        """Say so where more than one kind trains: each rounds in its own way, and no key tells them apart."""
        if gpu is None or gpu in self.gpus:
            return
        self.gpus.add(gpu)
        if len(self.gpus) > 1:
            kinds = " and ".join(sorted(self.gpus))
            self.display.tell(f"warning: trained on {kinds}: the same training differs between them by rounding")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, "complete")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.heard_at.pop(trial, None)
        error = error_line(self._error_text(trial))
        if self._goes_on_after(error):
            self.display.tell(f"{label_of(trial)}: {error}: trying again from its last epoch")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        text = self._error_text(trial)
        error = error_line(text)
        goes_on = self._goes_on_after(error)
        if LOW_ON_MEMORY in text:
            self._end_early(self.running(trial), EarlyEnd("host memory", text))
        elif goes_on and len(configs_of(trial)) > 1:
            self._end_early(self.running(trial), EarlyEnd("company", text))
            self.display.tell(f"{label_of(trial)}: {error}: trying again one by one")
        elif goes_on:
            for config in self.unfinished(trial):
                self.fail(config, text)
        if goes_on:  # what was not begun is not to blame, and waits for another trial
            self._end_early(self.unfinished(trial), EarlyEnd("not begun", text))
        self._end(trial, "failed")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._check_held()
        if self.problem is not None:
            raise self.problem
        self.display.update()
        now = time.monotonic()
        for trial, heard_at in list(self.heard_at.items()):
            timeout = (self.resources.trial_timeout or math.inf) * len(self.running(trial))
            if now - heard_at > timeout:
                del self.heard_at[trial]
                self.timeouts[trial] = f"TimeoutError: no new epoch in {timeout:g} seconds"
                ray.kill(trial.temporary_state.ray_actor, no_restart=True)
        if self.heard_at:
            self.idle_since, self.periods_told = now, 0
        elif min(now - self.idle_since, now - self.said_waiting_at) > WAITING_SECONDS:
            self.said_waiting_at = now
            self._say_waiting(now - self.idle_since)

    def _check_held(self) -> None:
        try:
            self.study.storage.check_held()
        except UserError as problem:
            self.problem = problem

    def _say_waiting(self, idle_seconds: float) -> None:
        """Say what the run waits for, and end it if that has not been there for a while, or no worker comes up."""
        nodes = live_nodes()
        if idle_seconds > IDLE_SECONDS:
            self.resources.check(nodes)
        full = None if awaited() else waiting_line(self.resources, nodes)
        if full is not None:
            self.display.tell(full)
        elif idle_seconds > GIVE_UP_SECONDS:
            raise NoWorker(f"{no_worker_line(idle_seconds)}: mend that, then run the same command again")
        elif idle_seconds // TELL_SECONDS > self.periods_told:
            self.periods_told = int(idle_seconds // TELL_SECONDS)
            self.display.tell(no_worker_line(idle_seconds))

    def fail(self, config: TrainingConfig, text: str, line: str | None = None) -> None:
        """Record that a training failed for good, with the text's last line of an error or another `line`."""
        self.display.state.end(config, "failed")
        folder = self.study.training(training_key(config, self.context))
        folder.fail(line or error_line(text), text)

    def running(self, trial: Any) -> list[TrainingConfig]:
        """The configs of the group of trainings that the trial is at."""
        return current_group(trial, self.is_over)

    def _start_group(self, trial: Any, again: bool = False) -> None:
        """Show the group of trainings that the trial is at as running, unless it is so already and not started `again`.
        """
        state, configs = self.display.state, self.running(trial)
        for config in configs:
            if not self.is_over(config) and (again or config not in state.running):
                state.start(config, len(configs))

    def is_over(self, config: TrainingConfig) -> bool:
        """Whether a training has ended, for good or early."""
        return config in self.display.state.ended or config in self.early_ends

    def unfinished(self, trial: Any) -> list[TrainingConfig]:
        """The trial's trainings that have not ended yet."""
        return [config for config in configs_of(trial) if config not in self.display.state.ended]

    def _end(self, trial: Any, how: str) -> None:
        self.heard_at.pop(trial, None)
        for config in self.unfinished(trial):
            if config in self.early_ends:
                self.display.state.stop(config)
            else:
                self.display.state.end(config, how)

    def _end_early(self, configs: Iterable[TrainingConfig], end: EarlyEnd) -> None:
        """Note why these trainings, but for those that have ended, did not come to their end."""
        for config in configs:
            if not self.is_over(config):
                self.early_ends[config] = end
                self.display.state.stop(config)

    def _error_text(self, trial: Any) -> str:
        """What a trial's newest failure left: the worker's traceback, or how the worker was lost."""
        newest = Path(trial.error_file).read_text().split("Failure # ")[-1].partition("\n")[2]
        text = re.sub(r"\x1b\[[0-9;]*m", "", newest)
        return f"{self.timeouts.pop(trial, 'WorkerDied: killed or crashed')}\n\n{text}" if ACTOR_DIED in text else text

    def _goes_on_after(self, error: str) -> bool:
        """Whether a trial's error is its own: a full disk or a store that is gone fails all, and ends the run."""
        kind, _, line = error.partition(": ")
        if kind in ENDING:
            # Raised at the end of the step: Tune would wrap it here.
            self.problem = ENDING[kind](line)
        return self.problem is None


def label_of(trial: Any) -> str:
    """A short readable name of the trial: its first training's, and how many more there are."""
    return group_label(configs_of(trial))


def error_line(text: str) -> str:
    """The innermost "SomeError: message" of a traceback, else the text's first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = (re.fullmatch(r"(?:\w+\.)*(\w*(?:Error|Exception|Interrupt))(:.*)?", line) for line in reversed(lines))
    innermost = next((error[1] + (error[2] or "") for error in errors if error), None)
    return innermost or (lines[0] if lines else "unknown error")
