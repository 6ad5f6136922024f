"""Optuna's storage of a search, with its errors in one line."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import optuna
from optuna.storages import RDBStorage

from tune_mnist.spec.errors import UserError

LOCKED_SECONDS = 60.0  # how long to wait for a reader, such as a dashboard, to let go of an SQLite file


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
