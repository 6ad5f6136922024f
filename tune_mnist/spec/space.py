"""Which trainings a search may try: a range or a list of values per setting, from TOML and flags."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.constructors import PrimitiveConstructorSpec

from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.training import FULLY_CONNECTED, TrainingConfig

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

LOG = ("lr", "weight_decay")
"""Settings whose ranges are drawn from log-uniformly; a weight decay only from a low above 0."""
WHOLE = ("batch_size", "cnn_batch_size")
TEXT = ("models", "cnn_precision")
LISTS = (*WHOLE, *TEXT)
"""Settings that are lists of values, never ranges."""


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        require(self.low <= self.high, "low <= high", f"{self.low}:{self.high}", "exchange them")


def domain_of_words(words: list[str]) -> Range | tuple[Any, ...]:
    """The domain that a flag's words name: LOW:HIGH, or one or more values."""
    _refuse_grid_search("a domain", " ".join(words))
    if any(":" in word for word in words):
        bounds = [_value(part) for part in words[0].split(":")]
        numbers = all(isinstance(bound, (int, float)) for bound in bounds)
        require(len(words) == 1 and len(bounds) == 2 and numbers, "a range is LOW:HIGH alone", " ".join(words),
                "write 1e-4:1e-1, or list single values")
        return Range(*bounds)
    return tuple(_value(word) for word in words)


def words_of_domain(domain: Range | tuple[Any, ...]) -> list[str]:
    """The flag's words that name a domain."""
    return [f"{domain.low}:{domain.high}"] if isinstance(domain, Range) else [str(value) for value in domain]


Domain = Annotated[
    Range | tuple[Any, ...],
    PrimitiveConstructorSpec(
        nargs="*", metavar="VALUE...|LOW:HIGH", instance_from_str=domain_of_words, str_from_instance=words_of_domain,
        is_instance=lambda value: isinstance(value, (Range, tuple)),
    ),
]


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
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name)))

    def domains(self, model: str) -> dict[str, tuple[str, Range | tuple[Any, ...]]]:
        """For each setting of `model` but the model itself: the name it is searched under, and its domain."""
        own = {
            f.name[4:]: (f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.name.startswith("cnn_")
        }
        shared = {f.name: (f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.name[:4] != "cnn_"}
        del shared["models"]
        return shared | ({name: found for name, found in own.items() if found[1]} if model == "CNN" else {})

    def choices(self, model: str, setting: str) -> tuple[Any, ...]:
        """The values of a model's setting that is a list."""
        domain = self.domains(model)[setting][1]
        return domain if isinstance(domain, tuple) else ()

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw a training's settings, define-by-run: the model first, then what that model has."""
        model = _suggest(trial, "model", self.models)
        drawn = {setting: _suggest(trial, name, domain) for setting, (name, domain) in self.domains(model).items()}
        return {"model": model, **drawn}

    def params_of(self, config: TrainingConfig) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
        """What `suggest` would have drawn to give `config`, with distributions; None if it cannot."""
        if config.model not in self.models:
            return None
        parts = {"model": ("model", self.models), **self.domains(config.model)}
        free = {f.name for f in dataclasses.fields(TrainingConfig)} - {*parts, "seed", "head"}
        plain = TrainingConfig(model=config.model, lr=config.lr, batch_size=config.batch_size)
        if config.seed or any(getattr(config, name) != getattr(plain, name) for name in free):
            return None
        if not all(_contains(domain, getattr(config, setting)) for setting, (_, domain) in parts.items()):
            return None
        drawn = {name: (getattr(config, setting), d) for setting, (name, d) in parts.items() if _searched(d)}
        distributions = {name: _distribution(name, domain) for name, (_, domain) in drawn.items()}
        return {name: value for name, (value, _) in drawn.items()}, distributions

    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter that may be drawn."""
        return {name: _distribution(name, domain) for name, domain in self._all() if _searched(domain)}

    def fixed(self) -> dict[str, Any]:
        """Every parameter that has one value."""
        return {name: domain[0] for name, domain in self._all() if isinstance(domain, tuple) and len(domain) == 1}

    def ranges(self) -> list[str]:
        """The parameters that are ranges."""
        return [name for name, domain in self._all() if isinstance(domain, Range)]

    def size(self) -> int:
        """How many different trainings there are; only of a space without ranges."""
        lists = ([d for _, d in self.domains(model).values() if isinstance(d, tuple)] for model in self.models)
        return sum(math.prod(map(len, found)) for found in lists)

    def _all(self) -> Iterator[tuple[str, Range | tuple[Any, ...]]]:
        found: dict[str, Range | tuple[Any, ...]] = {"model": self.models}
        for model in self.models:
            found |= dict(self.domains(model).values())
        yield from found.items()


def space_of(values: Mapping[str, Any], source: str) -> Space:
    """A space from a TOML table: numbers, lists of values and tables {low = …, high = …}.

    Raises:
        UserError: an unknown parameter (with the nearest known one), or a domain that is none.
    """
    known = [field.name for field in dataclasses.fields(Space)]
    for name in values:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
        require(name in known, "each parameter of a space is known", f"`{name}`", hint)
    try:
        domains: dict[str, Any] = {name: _domain_of_toml(name, value) for name, value in values.items()}
        return Space(**domains)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _domain_of_toml(name: str, value: Any) -> Range | tuple[Any, ...]:
    if isinstance(value, Mapping):
        _refuse_grid_search(name, value)
        bounds = value.keys() == {"low", "high"} and all(_number(bound) for bound in value.values())
        require(bounds, f"{name} has a low and a high", dict(value), "write {low = 1e-4, high = 1e-1}")
        return Range(value["low"], value["high"])
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _checked(name: str, domain: Any) -> Range | tuple[Any, ...]:
    """The domain with its values' type settled and every value within the setting's limits."""
    if isinstance(domain, Range):
        require(name not in LISTS, f"{name} is a list of values", words_of_domain(domain)[0], f"change {_flag(name)}")
        low, high = (_settled(name, bound) for bound in (domain.low, domain.high))
        return Range(low, high) if low < high else (low,)
    require(isinstance(domain, tuple), f"{name} is a range or a list", repr(domain), f"change {_flag(name)}")
    some = len(domain) > 0 or name.startswith("cnn_")
    require(some, f"{name} has at least one value", "none", f"change {_flag(name)}")
    values = tuple(_settled(name, value) for value in domain)
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    require(not twice, f"{name} has no value twice", ", ".join(twice), f"drop the repeats from {_flag(name)}")
    return values


def _settled(name: str, value: Any) -> Any:
    """`value` as a training would have it."""
    _refuse_grid_search(name, value)
    setting = {"models": "model"}.get(name, name.removeprefix("cnn_"))
    number = name in TEXT or _number(value)
    require(number, f"{name} has numbers", repr(value), f"change {_flag(name)}")
    config = TrainingConfig(**{"model": "CNN", "lr": 1e-3, "batch_size": 32, setting: value})
    return getattr(config, setting)


def _refuse_grid_search(name: str, value: Any) -> None:
    remedy = "list the values and take --sampler grid"
    require("grid_search" not in str(value), "a search space has no grid_search", f"{name} = {value}", remedy)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _value(word: str) -> Any:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _searched(domain: Range | tuple[Any, ...]) -> bool:
    return isinstance(domain, Range) or len(domain) > 1


def _contains(domain: Range | tuple[Any, ...], value: Any) -> bool:
    return domain.low <= value <= domain.high if isinstance(domain, Range) else value in domain


def _distribution(name: str, domain: Range | tuple[Any, ...]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(domain, Range):
        return FloatDistribution(domain.low, domain.high, log=name.removeprefix("cnn_") in LOG and domain.low > 0)
    return CategoricalDistribution(domain)


def _suggest(trial: optuna.Trial, name: str, domain: Range | tuple[Any, ...]) -> Any:
    if isinstance(domain, Range):
        log = name.removeprefix("cnn_") in LOG and domain.low > 0
        return trial.suggest_float(name, domain.low, domain.high, log=log)
    return domain[0] if len(domain) == 1 else trial.suggest_categorical(name, domain)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
