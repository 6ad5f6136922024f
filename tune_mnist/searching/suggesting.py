"""A space in Optuna's terms: what it draws for a training, and what it would have drawn to get one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tune_mnist.spec.domains import Domain, Range
from tune_mnist.spec.settings import Setting
from tune_mnist.spec.space import Space
from tune_mnist.spec.training import SETTINGS, TrainingConfig

MODEL = "model"


class Parameter(NamedTuple):
    """What Optuna draws for one setting of a model."""

    name: str
    """What Optuna calls it: as the setting, with the model before it where that has a domain of its own."""
    domain: Domain
    setting: Setting | None = None
    """None: it is the model."""

    @property
    def varies(self) -> bool:
        """Whether there is more than one value to draw."""
        return isinstance(self.domain, Range) or len(self.domain) != 1

    def distribution(self) -> BaseDistribution:
        """The domain in Optuna's terms."""
        if not isinstance(self.domain, Range):
            return CategoricalDistribution(self.domain)
        assert self.setting is not None
        log = self.setting.log and self.domain.low > 0
        if self.setting.kind == "whole number":
            return IntDistribution(int(self.domain.low), int(self.domain.high), log=log)
        return FloatDistribution(self.domain.low, self.domain.high, log=log)

    def suggest(self, trial: optuna.Trial) -> Any:
        """A value for `trial`, drawn if it varies."""
        if not isinstance(self.domain, Range) and not self.varies:
            return self.domain[0]
        drawn_from = self.distribution()
        if isinstance(drawn_from, CategoricalDistribution):
            return trial.suggest_categorical(self.name, drawn_from.choices)
        if isinstance(drawn_from, IntDistribution):
            return trial.suggest_int(self.name, drawn_from.low, drawn_from.high, log=drawn_from.log)
        assert isinstance(drawn_from, FloatDistribution)
        return trial.suggest_float(self.name, drawn_from.low, drawn_from.high, log=drawn_from.log)


class Draw(NamedTuple):
    """What Optuna would have drawn to get a training: parameters by name, and what they were drawn from."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


def parameters(space: Space, model: str) -> dict[str, Parameter]:
    """What is drawn for each setting of a model, the model itself first."""
    own, shared = space.own.get(model, {}), {MODEL: Parameter(MODEL, space.models)}
    return shared | {
        name: Parameter(name if name in SETTINGS and name not in own else f"{model}.{name}", domain, setting)
        for (name, domain), setting in zip(space.domains(model).items(), space.settings(model).values(), strict=True)
    }


def all_parameters(space: Space) -> list[Parameter]:
    """The parameters of all its models, each once; where several models' differ in one that is fixed, the first's."""
    by_name: dict[str, Parameter] = {}
    for model in space.models:
        for parameter in parameters(space, model).values():
            by_name.setdefault(parameter.name, parameter)
    return list(by_name.values())


def suggest(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    """Draw a training's settings, define-by-run: the model first, then what means something beside what is drawn."""
    drawn = {MODEL: Parameter(MODEL, space.models).suggest(trial)}
    for name, parameter in parameters(space, drawn[MODEL]).items():
        if name != MODEL:
            drawn[name] = parameter.suggest(trial) if _means_something(parameter, drawn) else _default(parameter)
    return drawn


def params_of(space: Space, config: TrainingConfig) -> Draw | None:
    """What `suggest` would have drawn to give `config`; None if it cannot."""
    if config.model not in space.models or config.source != space.source_of(config.model):
        return None
    values = {name: config.value(name) for name in space.settings(config.model)}
    drawn: dict[str, Parameter] = {}
    for name, parameter in parameters(space, config.model).items():
        if name == MODEL:
            inside = True
        elif not _means_something(parameter, values):
            continue
        else:
            inside = values[name] in parameter.domain
        if not inside:
            return None
        if parameter.varies:
            drawn[name] = parameter
    return Draw(
        params={parameter.name: config.model if name == MODEL else values[name] for name, parameter in drawn.items()},
        distributions={parameter.name: parameter.distribution() for parameter in drawn.values()},
    )


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Of every parameter that varies, what it is drawn from."""
    return {parameter.name: parameter.distribution() for parameter in all_parameters(space) if parameter.varies}


def fixed(space: Space) -> dict[str, Any]:
    """Of every parameter that does not vary its value."""
    return {
        parameter.name: parameter.domain[0] for parameter in all_parameters(space)
        if not isinstance(parameter.domain, Range) and not parameter.varies
    }


def changed_fixed(space: Space, recorded: Mapping[str, Any]) -> list[str]:
    """The parameters that a search was not made with as they are now: `recorded` is what was fixed then.

    One that was not recorded is of a setting that came later, and was at its default.
    """
    now = fixed(space)
    defaults = {each.name: each.setting.default for each in all_parameters(space) if each.setting is not None}
    later = [name for name in now.keys() - recorded.keys() if now[name] != defaults.get(name)]
    return sorted([name for name in recorded if now.get(name) != recorded[name]] + later)


def size(space: Space) -> int:
    """How many different trainings there are; only of a space without ranges."""
    return sum(1 for model in space.models for _ in space.combinations(model))


def settings_of(space: Space, config: TrainingConfig) -> dict[str, Any]:
    """A training of the space as `suggest` would give it."""
    return {MODEL: config.model} | {name: config.value(name) for name in space.settings(config.model)}


def _means_something(parameter: Parameter, values: dict[str, Any]) -> bool:
    setting = parameter.setting
    return setting is None or setting.applies is None or setting.applies(values)


def _default(parameter: Parameter) -> Any:
    return None if parameter.setting is None else parameter.setting.default


