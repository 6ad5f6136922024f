"""Which trainings a search may try: a range or a list of values per setting, from TOML and flags."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from tyro.constructors import PrimitiveConstructorSpec

from tune_mnist.spec.errors import flag_of, require, require_distinct
from tune_mnist.spec.toml import nearest_key
from tune_mnist.spec.training import FULLY_CONNECTED, TrainingConfig, as_in_training

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

LOG_UNIFORM = ("lr", "weight_decay")
"""Settings whose ranges are drawn from log-uniformly; a weight decay only from a low above 0."""
TEXTS = ("models", "cnn_precision")
LISTS = ("batch_size", "cnn_batch_size", *TEXTS)
"""Fields that are lists of values, never ranges."""


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        require(self.low <= self.high, "low <= high", f"{self.low}:{self.high}", "exchange them")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def domain_of_words(words: list[str]) -> Domain:
    """The domain that a flag's words name: LOW:HIGH, or one or more values."""
    _refuse_grid_search("a domain", " ".join(words))
    if any(":" in word for word in words):
        bounds = [_number_or_text(word) for word in words[0].split(":")]
        is_range = len(words) == 1 and len(bounds) == 2 and all(map(_is_number, bounds))
        remedy = "write 1e-4:1e-1, or list single values"
        require(is_range, "a range is LOW:HIGH alone", " ".join(words), remedy)
        return Range(*bounds)
    return tuple(_number_or_text(word) for word in words)


def words_of_domain(domain: Domain) -> list[str]:
    """The flag's words that name a domain."""
    return [f"{domain.low}:{domain.high}"] if isinstance(domain, Range) else [str(value) for value in domain]


Domain = Annotated[
    Range | tuple[Any, ...],
    PrimitiveConstructorSpec(
        nargs="*", metavar="VALUE...|LOW:HIGH", instance_from_str=domain_of_words, str_from_instance=words_of_domain,
        is_instance=lambda value: isinstance(value, (Range, tuple)),
    ),
]
"""What a setting may be: a range, or the values to choose from, of which a single one is fixed."""


class Parameter(NamedTuple):
    """What Optuna draws for one setting of a model."""

    name: str
    """What Optuna calls it: as the setting, with cnn_ before it where the CNN has a domain of its own."""
    domain: Domain

    @property
    def values(self) -> tuple[Any, ...]:
        """The values to choose from; of a range none."""
        return () if isinstance(self.domain, Range) else self.domain

    @property
    def varies(self) -> bool:
        """Whether there is more than one value to draw."""
        return len(self.values) != 1

    def distribution(self) -> BaseDistribution:
        """The domain in Optuna's terms."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        if isinstance(self.domain, Range):
            return FloatDistribution(self.domain.low, self.domain.high, log=self._is_log(self.domain))
        return CategoricalDistribution(self.domain)

    def suggest(self, trial: optuna.Trial) -> Any:
        """A value for `trial`, drawn if it varies."""
        if isinstance(self.domain, Range):
            return trial.suggest_float(self.name, self.domain.low, self.domain.high, log=self._is_log(self.domain))
        return trial.suggest_categorical(self.name, self.domain) if self.varies else self.domain[0]

    def _is_log(self, domain: Range) -> bool:
        return self.name.removeprefix("cnn_") in LOG_UNIFORM and domain.low > 0


class Draw(NamedTuple):
    """What Optuna would have drawn to get a training: parameters by name, and what they were drawn from."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


@dataclass(frozen=True, kw_only=True)
class Space:
    """A domain per setting: a `Range`, or a tuple of the values to choose from; a single value is fixed.

    Settings named cnn_… take the place of the others' where the model is the CNN; left empty, there are none.
    """

    models: tuple[str, ...] = FULLY_CONNECTED
    """Models to choose from."""
    lr: Domain = Range(1e-4, 1e-1)
    """Adam's learning rate; a range is log-uniform."""
    batch_size: tuple[int, ...] = (16, 32, 64, 128)
    """Pictures per optimisation step: a list."""
    dropout: Domain = (0.0,)
    """Probability of zeroing a hidden activation."""
    weight_decay: Domain = (0.0,)
    """Decoupled weight decay; a range is log-uniform if its low is above 0."""
    label_smoothing: Domain = (0.0,)
    """Share of the target spread over all classes."""
    rotation: Domain = (0.0,)
    """Largest random rotation, degrees."""
    translation: Domain = (0.0,)
    """Largest random shift, pixels."""
    scaling: Domain = (0.0,)
    """Largest random relative change of size."""
    shear: Domain = (0.0,)
    """Largest random shear, degrees."""
    cnn_lr: Domain = ()
    """The CNN's own lr."""
    cnn_batch_size: tuple[int, ...] = ()
    """The CNN's own batch sizes."""
    cnn_dropout: Domain = ()
    """The CNN's own dropout."""
    cnn_rotation: Domain = ()
    """The CNN's own rotation."""
    cnn_translation: Domain = ()
    """The CNN's own translation."""
    cnn_precision: tuple[Literal["fp32", "bf16"], ...] = ()
    """Arithmetic of the CNN's convolutions: fp32, bf16 or both."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked_domain(field.name, getattr(self, field.name)))

    def parameters(self, model: str) -> dict[str, Parameter]:
        """The parameter of each setting of `model`, the model itself first."""
        parameters = {}
        for field in dataclasses.fields(self):
            name = "model" if field.name == "models" else field.name
            domain = getattr(self, field.name)
            if not name.startswith("cnn_") or (model == "CNN" and domain):
                parameters[name.removeprefix("cnn_")] = Parameter(name, domain)
        return parameters

    def all_parameters(self) -> list[Parameter]:
        """The parameters of all its models, each once."""
        by_name = {parameter.name: parameter for model in self.models for parameter in self.parameters(model).values()}
        return list(by_name.values())

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw a training's settings, define-by-run: the model first, then what that model has."""
        drawn = {"model": Parameter("model", self.models).suggest(trial)}
        for setting, parameter in self.parameters(drawn["model"]).items():
            if setting != "model":
                drawn[setting] = parameter.suggest(trial)
        return drawn

    def params_of(self, config: TrainingConfig) -> Draw | None:
        """What `suggest` would have drawn to give `config`; None if it cannot."""
        parameters = self.parameters(config.model)
        plain = TrainingConfig(model=config.model, lr=config.lr, batch_size=config.batch_size, head=config.head)
        others = {field.name for field in dataclasses.fields(TrainingConfig)} - parameters.keys()
        if any(getattr(config, name) != getattr(plain, name) for name in others):
            return None
        if not all(getattr(config, setting) in parameter.domain for setting, parameter in parameters.items()):
            return None
        drawn = {setting: parameter for setting, parameter in parameters.items() if parameter.varies}
        return Draw(
            params={parameter.name: getattr(config, setting) for setting, parameter in drawn.items()},
            distributions={parameter.name: parameter.distribution() for parameter in drawn.values()},
        )

    def distributions(self) -> dict[str, BaseDistribution]:
        """Of every parameter that varies, what it is drawn from."""
        return {parameter.name: parameter.distribution() for parameter in self.all_parameters() if parameter.varies}

    def fixed(self) -> dict[str, Any]:
        """Of every parameter that does not vary, its value."""
        return {parameter.name: parameter.values[0] for parameter in self.all_parameters() if not parameter.varies}

    def ranges(self) -> list[str]:
        """The parameters that are ranges."""
        return [parameter.name for parameter in self.all_parameters() if isinstance(parameter.domain, Range)]

    def size(self) -> int:
        """How many different trainings there are; only of a space without ranges."""
        count = 0
        for model in self.models:
            choices = [parameter.values for name, parameter in self.parameters(model).items() if name != "model"]
            count += math.prod(map(len, choices))
        return count


def space_of(values: Mapping[str, Any]) -> Space:
    """A space from a TOML table: numbers, lists of values and tables {low = …, high = …}.

    Raises:
        UserError: an unknown parameter (with the nearest known one), or a domain that is none.
    """
    known = {field.name for field in dataclasses.fields(Space)}
    for name in values:
        require(name in known, "each parameter of a space is known", f"`{name}`", nearest_key(Space, name))
    domains: dict[str, Any] = {name: _domain_of_toml(name, value) for name, value in values.items()}
    return Space(**domains)


def _domain_of_toml(name: str, value: Any) -> Domain:
    if isinstance(value, Mapping):
        _refuse_grid_search(name, value)
        is_range = value.keys() == {"low", "high"} and all(map(_is_number, value.values()))
        require(is_range, f"{name} has a low and a high", dict(value), "write {low = 1e-4, high = 1e-1}")
        return Range(value["low"], value["high"])
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _checked_domain(name: str, domain: Any) -> Domain:
    """The domain of a field, every value of it within the setting's limits and of the setting's type."""
    change = f"change {flag_of(name)}"
    if isinstance(domain, Range):
        require(name not in LISTS, f"{name} is a list of values", words_of_domain(domain)[0], change)
        low, high = _checked_value(name, domain.low), _checked_value(name, domain.high)
        return Range(low, high) if low < high else (low,)
    require(isinstance(domain, tuple), f"{name} is a range or a list", repr(domain), change)
    require(len(domain) > 0 or name.startswith("cnn_"), f"{name} has at least one value", "none", change)
    values = tuple(_checked_value(name, value) for value in domain)
    require_distinct(name, values)
    return values


def _checked_value(name: str, value: Any) -> Any:
    """`value` as a training has it."""
    _refuse_grid_search(name, value)
    require(name in TEXTS or _is_number(value), f"{name} has numbers", repr(value), f"change {flag_of(name)}")
    return as_in_training(name.removeprefix("cnn_"), value)


def _refuse_grid_search(name: str, value: Any) -> None:
    remedy = "list the values and take --sampler grid"
    require("grid_search" not in str(value), "a search space has no grid_search", f"{name} = {value}", remedy)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number_or_text(word: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(word)
    return word
