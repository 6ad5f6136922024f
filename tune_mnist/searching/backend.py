"""What a search takes from Optuna, a storage and a sampler, with their errors in one line."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import optuna
from optuna.samplers import BaseSampler, BruteForceSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.search import SearchSpec

LOCKED_SECONDS = 60.0  # how long to wait for a reader, such as a dashboard, to let go of an SQLite file


class Exhaustive(BruteForceSampler):
    """Every combination once, whatever was tried before."""

    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        """There is no loop of Optuna's to stop at the end."""


def open_storage(url: str) -> RDBStorage:
    """Optuna's storage at a database URL.

    Raises:
        UserError: the URL is none, its driver is not installed, or the database does not answer.
    """
    options = {"connect_args": {"timeout": LOCKED_SECONDS}} if url.startswith("sqlite") else {}
    with quiet(), storage_errors():
        return RDBStorage(url, engine_kwargs=options)


def check_storage_url(url: str) -> None:
    """Check what can be checked of a database URL before the study's folder is made, where an SQLite file may lie.

    Raises:
        UserError: the URL is none, its driver is not installed, or a database other than SQLite does not answer.
    """
    from sqlalchemy import create_engine

    with storage_errors():
        dialect = create_engine(url).dialect.name
    if dialect != "sqlite":
        open_storage(url)


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


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warnings of experimental parts."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a database refuses into a `UserError`."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, ImportError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        raise UserError(f"the Optuna storage cannot be opened ({line}): check --optuna-storage") from None
