"""A training's config and context, checked when made, the key of its result, and how trials of Ray spell them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tune_mnist.spec.errors import flag_of, require
from tune_mnist.spec.models import FULLY_CONNECTED, MODEL_NAMES, MODEL_SETTINGS, require_model
from tune_mnist.spec.own.model import OwnModel
from tune_mnist.spec.settings import REQUIRED, Setting, coerce_fields, setting, settings_of, unknown_setting

__all__ = ["FULLY_CONNECTED", "MODEL_NAMES"]  # which many read from here

PREFIX = {"holdout": "val", "report": "test"}
"""What evaluation metrics are called under each protocol, by the split they are taken on."""

# A change that alters any number a training yields must raise this: it is part of every key.
ENGINE_VERSION = 2

Protocol = Literal["holdout", "report"]
Head = Literal["logits", "softmax"]


class Strict:
    """Read by pydantic in strict JSON mode: lists become tuples and ints floats, but "1" is no number, true no int."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}


@dataclass(frozen=True, kw_only=True)
class Recipe(Strict):
    """How a training is done, apart from its model, lr, batch size and seed. The defaults are the report's."""

    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"] = setting(
        "adamw", "Optimiser; adam takes weight decay as part of the gradient, and is adamw without any",
        source="arXiv:1412.6980, arXiv:1711.05101",
    )
    momentum: float = setting(
        0.0, "Momentum of the optimiser", least=0, below=1, needs=("optimizer",), where="optimizer sgd or rmsprop",
        applies=lambda values: values["optimizer"] in ("sgd", "rmsprop"),
    )
    nesterov: bool = setting(
        False, "Nesterov's momentum", needs=("optimizer", "momentum"), where="optimizer sgd with momentum",
        applies=lambda values: values["optimizer"] == "sgd" and values["momentum"] > 0,
    )
    clip_norm: float = setting(0.0, "Largest norm of the whole gradient, which is scaled down to it; 0: any", least=0)
    dropout: float = setting(
        0.0, "Probability of zeroing a hidden activation", least=0, below=1, in_every_key=True
    )
    weight_decay: float = setting(
        0.0, "Weight decay; decoupled from the gradient in adamw", least=0, log=True, in_every_key=True,
    )
    label_smoothing: float = setting(
        0.0, "Share of the target spread over all classes", least=0, below=1, in_every_key=True
    )
    ema_decay: float = setting(
        0.0, "Decay per step of the averaged weights that are evaluated; 0 evaluates the weights themselves", least=0,
        below=1, in_every_key=True,
    )
    schedule: Literal["constant", "cosine"] = setting(
        "constant", "How lr moves: constant, or cosine to 0 over the epoch budget", in_every_key=True
    )
    warmup_epochs: float = setting(0.0, "Epochs over which lr rises linearly from 0", least=0, in_every_key=True)
    rotation: float = setting(
        0.0, "Largest random rotation of a training picture", least=0, most=180, unit="degrees", in_every_key=True
    )
    translation: float = setting(
        0.0, "Largest random shift along each axis", least=0, most=14, unit="pixels", in_every_key=True
    )
    scaling: float = setting(0.0, "Largest random relative change of size", least=0, below=1, in_every_key=True)
    shear: float = setting(
        0.0, "Largest random horizontal shear", least=0, most=45, unit="degrees", in_every_key=True
    )
    precision: Literal["fp32", "bf16"] = setting(
        "fp32", "Arithmetic of other than fully connected models: fp32, or bf16 autocast", in_every_key=True
    )

    def __post_init__(self) -> None:
        coerce_fields(self)

    @property
    def augments(self) -> bool:
        """Whether training pictures are randomly transformed."""
        return any((self.rotation, self.translation, self.scaling, self.shear))

    @property
    def depends_on_budget(self) -> bool:
        """Whether a shorter run differs from the start of a longer one."""
        return self.schedule == "cosine"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Recipe):
    """One training: everything chosen by the user that determines its metrics.

    `budget` is the number of epochs the training is planned for where that matters (a cosine
    schedule, or an independent run); None means that every shorter run is a prefix of a longer one.
    """

    model: str
    lr: float = setting(REQUIRED, "Learning rate", above=0, log=True, in_every_key=True)
    batch_size: int = setting(
        REQUIRED, "Pictures per optimisation step", least=1, ranges=False, in_every_key=True
    )
    seed: int = 0
    head: Head = "logits"
    budget: int | None = None
    model_settings: Any = ()
    """The model's own settings that are not at their default: pairs of name and value in the order of names; may be
    given as a mapping."""
    source: Any = None
    """A model of one's own, or, where only that is known, the digest of its source; None: one of the package's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source is None:
            require_model(self.model)
        require(0 <= self.seed < 2**32, "0 <= seed < 2**32", self.seed, "change the seed")
        require(self.budget is None or self.budget >= 1, "budget >= 1", self.budget, "raise the epoch budget")
        if self.depends_on_budget:
            require(self.budget is not None, "a cosine schedule has a budget", self.budget, "give an epoch budget")
        for each in SETTINGS.values():
            value = getattr(self, each.name)
            if each.applies is not None and value != each.default:
                meant = each.applies(self.__dict__)
                require(meant, f"{each.name} goes with {each.where}", value, f"drop {flag_of(each.name)}")
        given = dict(self.model_settings)
        if not isinstance(self.source, str):
            known = settings_of_model(self.model, self.source)
            for name in given.keys() - known.keys():
                raise unknown_setting(name, list(known), self.model)
            given = {name: known[name].checked(value) for name, value in given.items()}
            given = {name: value for name, value in given.items() if value != known[name].default}
        object.__setattr__(self, "model_settings", tuple(sorted(given.items())))

    def __hash__(self) -> int:
        return hash(self.canonical)  # a text that is made once; the generated method hashes all fields at each call

    def value(self, name: str) -> Any:
        """The value of a field, or of a setting of the model's own; None if the model has no such setting."""
        if name in FIELDS:
            return getattr(self, name)
        known = {} if isinstance(self.source, str) else settings_of_model(self.model, self.source)
        return dict(self.model_settings).get(name, known[name].default if name in known else None)

    def row(self) -> dict[str, Any]:
        """All that it says by name, the model's own settings among it, as tables have it."""
        source = None if isinstance(self.source, str) else self.source
        own = {name: self.value(name) for name in settings_of_model(self.model, source)}
        return own | {name: getattr(self, name) for name in FIELDS if name not in ("model_settings", "source")}

    def content(self) -> dict[str, Any]:
        """All that it says, as plain JSON values; settings that keys leave out at their default are left out."""
        values = {name: getattr(self, name) for name in FIELDS if name not in ("model_settings", "source")}
        content: dict[str, Any] = {
            name: value for name, value in values.items()
            if name not in SETTINGS or SETTINGS[name].in_every_key or value != SETTINGS[name].default
        }
        if self.model_settings:
            content["model_settings"] = dict(self.model_settings)
        if self.source is not None:
            content["source"] = self.source if isinstance(self.source, str) else self.source.digest
        return content

    def identity(self) -> dict[str, Any]:
        """What of its content determines the result: what its key is made of."""
        content = self.content()
        if self.optimizer == "adam" and not self.weight_decay:
            del content["optimizer"]  # the default, which is the same without weight decay
        return content

    @functools.cached_property
    def canonical(self) -> str:
        """Its identity as JSON in the one form that keys are made of: the same for trainings with the same result."""
        return _canonical(self.identity())

    @property
    def label(self) -> str:
        """A short readable name: its model, lr, batch size, seed, and what is not at its default."""
        changed = [
            name for name, each in SETTINGS.items() if each.default not in (REQUIRED, getattr(self, name))
        ]
        return self.named([*changed, *(name for name, _ in self.model_settings)])

    def named(self, names: Iterable[str]) -> str:
        """A short readable name: its model, lr, batch size, seed, and those of the settings `names` that it has."""
        settings = self.row()
        parts = [self.model, f"lr{self.lr:g}", f"b{self.batch_size}", f"s{self.seed}"]
        if self.budget is not None:
            parts.append(f"e{self.budget}")
        for name in names:
            value = settings.get(name)
            if value is not None and name not in ("model", "lr", "batch_size", "seed", "epochs", "budget"):
                is_word = isinstance(value, str) and value.isidentifier()
                parts.append(value if is_word else f"{name}{value:g}" if isinstance(value, float) else f"{name}{value}")
        return "-".join(parts)


SETTINGS: dict[str, Setting] = dict(
    sorted(settings_of(TrainingConfig).items(), key=lambda named: named[1].default is not REQUIRED)
)
"""Every setting that all models share, by name: those without a default first."""
FIELDS = tuple(field.name for field in dataclasses.fields(TrainingConfig))


def settings_of_model(model: str, source: OwnModel | None = None) -> Mapping[str, Setting]:
    """A model's own settings by name."""
    return MODEL_SETTINGS.get(model, {}) if source is None else source.settings


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a training's metrics depend on besides its config."""

    protocol: Protocol
    data_sha256: str
    """Digest of the training and evaluation arrays in use, so of the data and its split."""
    device: str = "cpu"
    """Device type the training runs on: cpu or cuda. A key says no more of processors or GPUs: a study may go on on
    another kind, where the same training differs by rounding. Its timings name each epoch's GPU, and a run that has
    several kinds says so."""
    threads: int = 1
    """CPU threads of the training; another number sums in another order."""
    engine_version: int = ENGINE_VERSION

    def __post_init__(self) -> None:
        coerce_fields(self)

    @functools.cached_property
    def content(self) -> dict[str, Any]:
        """All of it, as plain JSON values, not to be changed."""
        return dataclasses.asdict(self)

    @functools.cached_property
    def canonical(self) -> str:
        """Its content as JSON in the one form that keys are made of."""
        return _canonical(self.content)


def training_key(config: TrainingConfig, context: Context) -> str:
    """The training's content address: 16 hex digits of the SHA-256 of all that determines its result."""
    canonical = f'{{"config":{config.canonical},"context":{context.canonical}}}'
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True)
class PlannedTraining:
    """A training and the epoch budgets it answers: each (config, budget) is one cell of the grid."""

    config: TrainingConfig
    budgets: tuple[int, ...]

    @property
    def epochs(self) -> int:
        """Epochs to run: the largest budget."""
        return max(self.budgets)


def trial_config(plans: Sequence[PlannedTraining]) -> dict[str, Any]:
    """A Ray trial's config: of a training its fields, `epochs` and `budgets`; of a pack those of each, under `pack`.

    A model of one's own is in it whole, as other nodes may not have its file.
    """
    members = [
        {name: getattr(plan.config, name) for name in FIELDS}
        | {"model_settings": dict(plan.config.model_settings), "epochs": plan.epochs, "budgets": list(plan.budgets)}
        for plan in plans
    ]
    return members[0] if len(members) == 1 else {"pack": members}


def trainings_of(trial_config: dict[str, Any]) -> list[PlannedTraining]:
    """The trainings of a Ray trial; one that names no `budgets` has its `epochs` as the only one."""
    return [
        PlannedTraining(
            TrainingConfig(**{name: member[name] for name in FIELDS if name in member}),
            tuple(member.get("budgets", [member["epochs"]])),
        )
        for member in trial_config.get("pack", [trial_config])
    ]
