"""Tests of what a setting may be, as flags, TOML and Python spell it."""

from __future__ import annotations

from typing import Any

import pytest

from tune_mnist.spec.domains import Domain, Range, domain_of, domain_of_words, words_of
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.models import MODEL_SETTINGS
from tune_mnist.spec.settings import Setting
from tune_mnist.spec.training import SETTINGS

ALL = SETTINGS | MODEL_SETTINGS["MLP"] | MODEL_SETTINGS["CNN"]


@pytest.mark.parametrize(("name", "words", "domain"), [
    ("lr", "1e-4:0.1", Range(1e-4, 0.1)), ("lr", "0.001 0.01", (1e-3, 1e-2)), ("batch_size", "16", (16,)),
    ("optimizer", "adam sgd", ("adam", "sgd")), ("nesterov", "true false", (True, False)), ("nesterov", "", (True,)),
    ("hidden", "128 256-128", ("128", "256-128")), ("width", "8:64", Range(8, 64)), ("lr", "0.1:0.1", (0.1,)),
])
def test_words_name_a_domain_and_a_domain_has_words(name: str, words: str, domain: Domain) -> None:
    setting = ALL[name]
    assert domain_of(setting, domain_of_words(setting, words.split())) == domain
    assert domain_of(setting, domain_of_words(setting, words_of(domain))) == domain


@pytest.mark.parametrize(("name", "given", "domain"), [
    ("lr", 1, (1.0,)), ("lr", [1, 0.5], (1.0, 0.5)), ("lr", {"low": 1e-4, "high": 1}, Range(1e-4, 1.0)),
    ("lr", "1e-4:1", Range(1e-4, 1.0)), ("hidden", [128, "256-128", [8, 4]], ("128", "256-128", "8-4")),
    ("hidden", 64, ("64",)), ("batch_norm", True, (True,)), ("schedule", "cosine", ("cosine",)),
    ("lr", {"words": ["0.5", "1"]}, (0.5, 1.0)),
])
def test_toml_and_python_name_a_domain(name: str, given: Any, domain: Domain) -> None:
    assert domain_of(ALL[name], given) == domain


@pytest.mark.parametrize(("name", "given", "told"), [
    ("lr", {"low": 1e-1, "high": 1e-4}, "low <= high"), ("lr", {"low": 1e-4}, "lr has a low and a high"),
    ("lr", {"grid_search": [1e-3]}, "has no grid_search"), ("lr", [], "lr has at least one value"),
    ("lr", [0.1, 0.1], "lr has no value twice"), ("batch_size", Range(1, 2), "batch_size is a list of values"),
    ("lr", Range(0, 1), "0 < lr < inf"), ("hidden", "8--4", "whole numbers in a row"), ("width", 0, "width >= 1.* 0"),
    ("nesterov", "maybe", "nesterov is true or false.* 'maybe'"), ("schedule", "cosin", "did you mean cosine"),
])
def test_what_is_no_domain_is_told(name: str, given: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        domain_of(ALL[name], given)


def test_every_setting_says_what_it_is_and_takes_its_own_default() -> None:
    for setting in ALL.values():
        assert isinstance(setting, Setting) and len(setting.help.split()) > 1 and setting.help.endswith(".")
        if setting.name not in ("lr", "batch_size"):
            assert setting.checked(setting.default) == setting.default
            assert domain_of(setting, domain_of_words(setting, words_of(setting.default))) == (setting.default,)
