"""Tests of the storage that a search has in Optuna."""

from __future__ import annotations

import pytest

from tune_mnist.searching.storage import open_storage
from tune_mnist.spec.errors import UserError


@pytest.mark.parametrize("url", ["nonsense", "nodb://x", "sqlite:////nowhere/at/all.db"])
def test_a_storage_that_cannot_be_opened_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match="Optuna storage cannot be opened .*: check --optuna-storage"):
        open_storage(url)
