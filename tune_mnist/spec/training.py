"""What may be asked for: a training's config and a study's spec, checked when made."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from tune_mnist.spec.errors import require

MODEL_NAMES = ("SimpleNN", "MediumNN", "ComplexNN", "CNN")
FULLY_CONNECTED = MODEL_NAMES[:3]

PREFIX = {"holdout": "val", "report": "test"}
"""What evaluation metrics are called under each protocol, by the split they are taken on."""

# A change that alters any number a training yields must raise this: it is part of every key.
ENGINE_VERSION = 2

Protocol = Literal["holdout", "report"]
Head = Literal["logits", "softmax"]

# Strict JSON mode: lists become tuples and ints floats, but "1" is no number and true no int.
STRICT = {"extra": "forbid", "strict": True}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a training is done, apart from what the grid sweeps. The defaults are the report's."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

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
        settle(self)
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
        check_model(self.model)
        check_lr(self.lr)
        check_batch_size(self.batch_size)
        _check_seed(self.seed)
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
    """Device type the training runs on: cpu or cuda."""
    threads: int = 1
    """CPU threads of the training; another number sums in another order."""
    engine_version: int = ENGINE_VERSION

    def __post_init__(self) -> None:
        settle(self)


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


def settle(made: object) -> None:
    """Check a dataclass's choices and give its numbers their declared type, so that equal configs have equal keys."""
    for name, hint in get_type_hints(type(made)).items():
        value, kinds = getattr(made, name), get_args(hint)
        if get_origin(hint) is Literal:
            require(value in kinds, f"{name} is one of {', '.join(kinds)}", repr(value), f"change {flag_of(name)}")
        elif get_origin(hint) is tuple:
            object.__setattr__(made, name, tuple(_typed(name, item, kinds[0]) for item in value))
        elif value is not None:
            object.__setattr__(made, name, _typed(name, value, int if hint == int | None else hint))


def _typed(name: str, value: Any, kind: Any) -> Any:
    if kind not in (int, float):
        return value
    rule = f"{name} is a {'whole ' if kind is int else ''}number"
    number = not isinstance(value, bool) and isinstance(value, numbers.Real) and (kind is float or value % 1 == 0)
    require(number, rule, repr(value), f"change {flag_of(name)}")
    return kind(value) + 0  # -0.0 becomes 0.0


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def check_model(name: str) -> None:
    near = difflib.get_close_matches(name, MODEL_NAMES, n=1, cutoff=0.4)
    remedy = f"did you mean {near[0]}?" if near else "change --models"
    require(name in MODEL_NAMES, f"model is one of {', '.join(MODEL_NAMES)}", repr(name), remedy)


def check_lr(lr: float) -> None:
    require(math.isfinite(lr) and lr > 0, "0 < lr < inf", lr, "change --lr")


def check_batch_size(batch_size: int) -> None:
    require(batch_size >= 1, "batch_size >= 1", batch_size, "raise --batch-size")


def _check_seed(seed: int) -> None:
    require(0 <= seed < 2**32, "0 <= seed < 2**32", seed, "change the seed")
