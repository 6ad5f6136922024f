"""Distributed hyperparameter tuning on MNIST with Ray Tune; what a notebook needs is here by name, loaded when used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_mnist.deploy.digits.answers import predict_files as predict_files
    from tune_mnist.deploy.retrain_seeds import run_retrain as run_retrain
    from tune_mnist.grid_experiment import run_grid as run_grid
    from tune_mnist.running.resources import Resources as Resources
    from tune_mnist.running.result_grid import records_from_results as records_from_results
    from tune_mnist.running.watching.tracking import Tracking as Tracking
    from tune_mnist.search_experiment import run_search as run_search
    from tune_mnist.spec.domains import Range as Range
    from tune_mnist.spec.errors import UserError as UserError
    from tune_mnist.spec.search import SearchSpec as SearchSpec
    from tune_mnist.spec.space import Space as Space
    from tune_mnist.spec.study import StudySpec as StudySpec
    from tune_mnist.spec.training import Recipe as Recipe
    from tune_mnist.tables.of_study import load_study as load_study

__version__ = "0.1.0"

_MODULES = {
    "predict_files": "deploy.digits.answers", "run_retrain": "deploy.retrain_seeds", "run_grid": "grid_experiment",
    "run_search": "search_experiment", "Resources": "running.resources", "records_from_results": "running.result_grid",
    "Tracking": "running.watching.tracking", "UserError": "spec.errors", "SearchSpec": "spec.search",
    "Range": "spec.domains", "Space": "spec.space", "StudySpec": "spec.study", "Recipe": "spec.training",
    "load_study": "tables.of_study",
}
"""Where each public name is; the imports above say the same to type checkers."""


if not TYPE_CHECKING:  # type checkers would take any name that it takes

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module `tune_mnist` has no `{name}`: there are {', '.join(sorted(_MODULES))}")
        return getattr(importlib.import_module(f"tune_mnist.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
