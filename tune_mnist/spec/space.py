"""Which trainings may be: of every setting a value, a list or a range, for all models or for one."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import Doc
from tyro.conf import Suppress, arg
from tyro.constructors import PrimitiveConstructorSpec

from tune_mnist.spec.domains import Domain, Range, domain_of, domain_of_words, values_of, words_of
from tune_mnist.spec.errors import did_you_mean, flag_of, require, require_distinct
from tune_mnist.spec.models import FULLY_CONNECTED, MODEL_NAMES, MODEL_SETTINGS, require_model
from tune_mnist.spec.own.files import read_model
from tune_mnist.spec.own.model import SHARED, OwnModel
from tune_mnist.spec.settings import OWN_FLAG, REQUIRED, Setting, unknown_setting
from tune_mnist.spec.training import SETTINGS, Strict, settings_of_model

LR = Range(1e-4, 1e-1)
"""The learning rates that are searched unless others are asked for."""


def _own_help() -> str:
    """What models have of their own, in words for --help."""
    described: dict[str, list[str]] = {}
    for model, settings in MODEL_SETTINGS.items():
        for each in settings.values():
            shown = f" ({', '.join(each.choices)})" if each.choices else ""
            described.setdefault(f"{each.name}: {each.help.rstrip('.')}{shown}", []).append(model)
    own = "; ".join(f"{', '.join(models)} {words}" for words, models in described.items())
    return f"A setting of one model: one of those above, or of its own. {own}."


def flag_type(setting: Setting) -> Any:
    """The type of a space's field for a setting, with what --help and the command line make of it."""
    choices = "{" + ",".join(map(str, setting.choices)) + "}"
    metavar = choices if setting.choices else "VALUE..."
    words = PrimitiveConstructorSpec(
        nargs="*", metavar=metavar, instance_from_str=partial(domain_of_words, setting), str_from_instance=words_of,
        is_instance=lambda value: True,
    )
    return Annotated[Any, words, Doc(setting.help)]


if TYPE_CHECKING:

    class OfEverySetting:
        """Has a field for each setting that all models share."""

        def __getattr__(self, name: str) -> Any: ...

else:
    OfEverySetting = dataclasses.make_dataclass(
        "OfEverySetting",
        [
            ("models", Any, field(default=FULLY_CONNECTED, kw_only=True)),  # declared below: this is its place
        ] + [
            (name, flag_type(each), field(default=None if each.default is REQUIRED else each.default, kw_only=True))
            for name, each in SETTINGS.items()
        ],
        frozen=True,
    )

Models = Annotated[Any, PrimitiveConstructorSpec(
    nargs="*", metavar="MODEL...", instance_from_str=tuple, str_from_instance=list, is_instance=lambda value: True,
)]
Own = Annotated[Any, arg(name=OWN_FLAG, help=_own_help(), help_behavior_hint=""), PrimitiveConstructorSpec(
    nargs=1, metavar="VALUE...", instance_from_str=lambda words: json.loads(words[0]),
    str_from_instance=lambda own: [json.dumps(own, default=str)], is_instance=lambda value: True,
)]


@dataclass(frozen=True, kw_only=True)
class Space(Strict, OfEverySetting):
    """A domain per setting: a value, a list or tuple of values, or a `Range`; kept as a `Range` or a tuple."""

    models: Models = FULLY_CONNECTED
    """Models: SimpleNN, MediumNN, ComplexNN, CNN, MLP, or one of your own as FILE.py:Class or package.module:Class."""
    lr: flag_type(SETTINGS["lr"]) = LR  # type: ignore[valid-type]
    batch_size: flag_type(SETTINGS["batch_size"]) = (16, 32, 64, 128)  # type: ignore[valid-type]
    own: Own = field(default_factory=dict, hash=False)
    """By model the domains of settings that it has of its own, or that take the place of the others' for it."""
    sources: Suppress[Any] = ()
    """The models of one's own, as they are known once they were read."""

    if TYPE_CHECKING:

        def __init__(self, **domains: Any) -> None: ...

    def __post_init__(self) -> None:
        self._read_models()
        for name, setting in SETTINGS.items():
            object.__setattr__(self, name, domain_of(setting, getattr(self, name)))
        object.__setattr__(self, "own", {
            self._named(model): self._own_domains(self._named(model), given) for model, given in self.own.items()
        })
        for name, setting in SETTINGS.items():
            if getattr(self, name) != (setting.default,):
                self._require_use(setting)

    def _read_models(self) -> None:
        """Models as their names, with those of one's own read."""
        given = self.models if isinstance(self.models, list | tuple) else (self.models,)
        require(len(given) > 0, "models has at least one value", "none", "give --models a value")
        known = {source.name: source for source in self.sources}
        names: list[str] = []
        for model in given:
            if not isinstance(model, str) or (":" in model and model not in known):
                read = model if isinstance(model, OwnModel) else read_model(model)
                for name in sorted(read.settings.keys() & SETTINGS.keys()):
                    rule = f"{name} is a setting of every training"
                    require(False, rule, f"an argument of {read.class_name}", "rename it")
                known[read.name] = read
                names.append(read.name)
            else:
                names.append(model)
                require_model(model, known)
        require_distinct("models", names)
        object.__setattr__(self, "models", tuple(names))
        object.__setattr__(self, "sources", tuple(known[name] for name in names if name in known))

    def source_of(self, model: str) -> OwnModel | None:
        """The model of one's own that has this name; None if it is the package's."""
        return next((source for source in self.sources if source.name == model), None)

    def _named(self, model: str) -> str:
        """A model that settings are given to by its name here: its class's name, if it is one's own."""
        found = next((source.name for source in self.sources if model in (source.class_name, source.given)), model)
        known = (*MODEL_NAMES, *self.models)
        remedy = did_you_mean(model, known, "add it to --models", cutoff=0.3)
        require(found in known, "settings are given to models that there are", repr(model), remedy)
        return found

    def _own_domains(self, model: str, given: Any) -> dict[str, Domain]:
        require(isinstance(given, Mapping), f"{model} has settings", repr(given), f"write [{model}] and below it those")
        known = self.settings(model)
        for name in given:
            if name not in known:
                raise unknown_setting(name, list(known), model)
        called = model.partition("@")[0]  # as on the command line
        return {
            name: domain_of(dataclasses.replace(known[name], name=f"{called}.{name}"), domain)
            for name, domain in sorted(given.items())
        }

    def domains(self, model: str) -> dict[str, Domain]:
        """Every setting of the model, shared ones first, with what it may be."""
        source, own = self.source_of(model), self.own.get(model, {})
        domains: dict[str, Domain] = {}
        for name, setting in SETTINGS.items():
            taken = source is None or name not in SHARED or name in source.shared
            domains[name] = own.get(name, getattr(self, name)) if taken else (setting.default,)
        own_settings = settings_of_model(model, source)
        return domains | {name: own.get(name, (each.default,)) for name, each in own_settings.items()}

    def settings(self, model: str) -> dict[str, Setting]:
        """Every setting of the model, shared ones first."""
        return {**SETTINGS, **settings_of_model(model, self.source_of(model))}

    def combinations(self, model: str) -> Iterator[dict[str, Any]]:
        """Every different combination of the model's values, in their order; only of a space without ranges."""
        domains = self.domains(model)
        seen = set()
        for values in itertools.product(*map(values_of, domains.values())):
            combination = meant(dict(zip(domains, values, strict=True)))
            key = tuple(combination.values())
            if key not in seen:
                seen.add(key)
                yield combination

    def corners(self, model: str) -> Iterator[dict[str, Any]]:
        """Combinations of the model's values in which each value, of a range each end, occurs."""
        domains = {name: values_of(domain) for name, domain in self.domains(model).items()}
        first = {name: values[0] for name, values in domains.items()}
        yield meant(first)
        for name, values in domains.items():
            yield from (meant(first | {name: value}) for value in values[1:])

    def ranges(self) -> list[str]:
        """The settings that are ranges, those of one model with its name before them."""
        names = {
            name if name not in self.own.get(model, {}) else f"{model}.{name}"
            for model in self.models for name, domain in self.domains(model).items() if isinstance(domain, Range)
        }
        return sorted(names)

    def _require_use(self, setting: Setting) -> None:
        """Raise `UserError` if a setting that is not at its default can mean nothing here."""
        if setting.name in SHARED:
            takes = any(source is None or setting.name in source.shared for source in map(self.source_of, self.models))
            remedy = f"give its __init__ the argument {setting.name}={setting.default}"
            require(takes, f"a model takes {setting.name}", ", ".join(self.models), remedy)
        if setting.applies is None:
            return
        of_models = [self.domains(model) for model in self.models]
        possible = any(
            setting.applies(dict(zip(setting.needs, values, strict=True)))
            for domains in of_models
            for values in itertools.product(*(values_of(domains[name]) for name in setting.needs))
        )
        remedy = f"drop {flag_of(setting.name)}"
        require(possible, f"{setting.name} goes with {setting.where}", ", ".join(words_of(self.optimizer)), remedy)


def meant(values: dict[str, Any]) -> dict[str, Any]:
    """A model's settings with those that mean nothing beside the others at their default."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        setting = SETTINGS.get(name)
        needless = setting is not None and setting.applies is not None and not setting.applies(kept)
        kept[name] = setting.default if setting is not None and needless else value
    return kept


__all__ = ["Range", "Space"]  # which many read from here
