"""A training's config and context, checked when made, the key of its result, and how trials of Ray spell them."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from tune_mnist.spec.errors import flag_of, require

MODEL_NAMES = ("SimpleNN", "MediumNN", "ComplexNN", "CNN")
FULLY_CONNECTED = MODEL_NAMES[:3]

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
    """How a training is done, apart from what the grid sweeps. The defaults are the report's."""

    dropout: float = 0.0
    """Probability of zeroing a hidden activation, in [0, 1)."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW, arXiv:1711.05101), at least 0."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes, in [0, 1)."""
    ema_decay: float = 0.0
    """Decay per step of the averaged weights that are evaluated, in [0, 1); 0 evaluates the weights themselves."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How lr moves: constant, or cosine to 0 over the epoch budget."""
    warmup_epochs: float = 0.0
    """Epochs over which lr rises linearly from 0."""
    rotation: float = 0.0
    """Largest random rotation of a training picture, degrees, in [0, 180]."""
    translation: float = 0.0
    """Largest random shift along each axis, pixels, in [0, 14]."""
    scaling: float = 0.0
    """Largest random relative change of size, in [0, 1)."""
    shear: float = 0.0
    """Largest random horizontal shear, degrees, in [0, 45]."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the CNN's convolutions: fp32, or bf16 autocast."""

    def __post_init__(self) -> None:
        coerce_fields(self)
        for name in ("dropout", "label_smoothing", "ema_decay", "scaling"):
            value = getattr(self, name)
            require(0 <= value < 1, f"0 <= {name} < 1", value, f"change {flag_of(name)}")
        for name, most in {"rotation": 180, "translation": 14, "shear": 45}.items():
            value = getattr(self, name)
            require(0 <= value <= most, f"0 <= {name} <= {most}", value, f"change {flag_of(name)}")
        for name in ("weight_decay", "warmup_epochs"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"0 <= {name} < inf", value, f"change {flag_of(name)}")

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
    lr: float
    batch_size: int
    seed: int = 0
    head: Head = "logits"
    budget: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in MODEL_NAMES:
            near = difflib.get_close_matches(self.model, MODEL_NAMES, n=1, cutoff=0.4)
            remedy = f"did you mean {near[0]}?" if near else "change --models"
            require(False, f"model is one of {', '.join(MODEL_NAMES)}", repr(self.model), remedy)
        require(0 < self.lr < math.inf, "0 < lr < inf", self.lr, "change --lr")
        require(self.batch_size >= 1, "batch_size >= 1", self.batch_size, "raise --batch-size")
        require(0 <= self.seed < 2**32, "0 <= seed < 2**32", self.seed, "change the seed")
        require(self.budget is None or self.budget >= 1, "budget >= 1", self.budget, "raise the epoch budget")
        if self.depends_on_budget:
            require(self.budget is not None, "a cosine schedule has a budget", self.budget, "give an epoch budget")

    @property
    def label(self) -> str:
        """A short readable name, as shown on dashboards and in logs."""
        budget = "" if self.budget is None else f"-e{self.budget}"
        return f"{self.model}-lr{self.lr:g}-b{self.batch_size}-s{self.seed}{budget}"


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


def as_in_training(name: str, value: Any) -> Any:
    """A spec's value of `name` with the type that a training's config gives it; `UserError` if out of its limits."""
    setting = "model" if name == "models" else name
    config = TrainingConfig(**{"model": "CNN", "lr": 1e-3, "batch_size": 32, setting: value})
    return getattr(config, setting)


def training_key(config: TrainingConfig, context: Context) -> str:
    """The training's content address: 16 hex digits of the SHA-256 of all that determines its result."""
    content = {"config": dataclasses.asdict(config), "context": dataclasses.asdict(context)}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


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
    """A Ray trial's config: of a training its fields, `epochs` and `budgets`; of a pack those of each, under `pack`."""
    members = [
        {**dataclasses.asdict(plan.config), "epochs": plan.epochs, "budgets": list(plan.budgets)} for plan in plans
    ]
    return members[0] if len(members) == 1 else {"pack": members}


def trainings_of(trial_config: dict[str, Any]) -> list[PlannedTraining]:
    """The trainings of a Ray trial; one that names no `budgets` has its `epochs` as the only one."""
    names = [f.name for f in dataclasses.fields(TrainingConfig)]
    return [
        PlannedTraining(
            TrainingConfig(**{name: member[name] for name in names if name in member}),
            tuple(member.get("budgets", [member["epochs"]])),
        )
        for member in trial_config.get("pack", [trial_config])
    ]


def coerce_fields(instance: Any) -> None:
    """Give a frozen dataclass's numbers their declared type, so that equal configs have equal keys.

    Raises:
        UserError: a number that is none or is not whole, or a value that is none of the declared choices.
    """
    hints = _type_hints(instance.__class__)
    for field in dataclasses.fields(instance):
        value = _coerced(field.name, getattr(instance, field.name), hints[field.name])
        object.__setattr__(instance, field.name, value)


@functools.cache  # they take most of a millisecond, and studies have many configs
def _type_hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _coerced(name: str, value: Any, hint: Any) -> Any:
    kinds = get_args(hint)
    if kinds[1:] == (type(None),):  # X | None
        return None if value is None else _coerced(name, value, kinds[0])
    if kinds == (int, str):  # a number or a word
        return value if isinstance(value, str) else _coerced(name, value, int)
    if get_origin(hint) is Literal:
        require(value in kinds, f"{name} is one of {', '.join(kinds)}", repr(value), f"change {flag_of(name)}")
    elif get_origin(hint) is tuple:
        return tuple(_coerced(name, item, kinds[0]) for item in value)
    elif hint in (int, float):
        rule = f"{name} is a {'whole ' if hint is int else ''}number"
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        require(is_number and (hint is float or value % 1 == 0), rule, repr(value), f"change {flag_of(name)}")
        return hint(value) + 0  # -0.0 becomes 0.0
    return value
