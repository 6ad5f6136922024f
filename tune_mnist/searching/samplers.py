"""Optuna's samplers by the names that a search's spec gives them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from optuna.samplers import BaseSampler, BruteForceSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler

from tune_mnist.searching.storage import quiet
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.search import SearchSpec


class Exhaustive(BruteForceSampler):
    """Every combination once, whatever was tried before."""

    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        """There is no loop of Optuna's to stop at the end."""


def make_sampler(spec: SearchSpec, trials: int) -> BaseSampler:
    """The spec's sampler; a search that goes on after `trials` draws anew, not the first ones again.

    Raises:
        UserError: the sampler's package is not installed.
    """
    seed = (spec.seed + 7919 * trials) % 2**32
    makers: dict[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
        "random": lambda: RandomSampler(seed=seed),
        "grid": lambda: Exhaustive(seed=seed),
        "cmaes": lambda: CmaEsSampler(seed=seed, warn_independent_sampling=False),
        "gp": lambda: GPSampler(seed=seed),
    }
    try:
        if spec.sampler == "cmaes":
            importlib.import_module("cmaes")  # which Optuna would miss only when it is first asked
        with quiet():
            return makers[spec.sampler]()
    except ImportError as error:
        raise UserError(f"the {spec.sampler} sampler needs the package {error.name}: install it") from None
