"""What the commands that run a study let a user say besides its spec: which study, where, and on what."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tune_mnist.running.resources import Resources
from tune_mnist.running.tracking import Tracking
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.study import STORAGE, Download, StudySpec, check_storage_name, check_study_name


@dataclass(frozen=True, kw_only=True)
class RunArgs:
    """What the arguments of grid and search share."""

    spec: StudySpec | SearchSpec
    name: str
    """The study's name; its results land in STORAGE/NAME."""
    storage: Path = STORAGE
    """Folder of the studies."""
    fresh: bool = False
    """Start anew; an earlier study of this name is moved aside, not deleted."""
    download: Download = False
    json: bool = False
    """Print the outcome as one JSON object."""
    resources: Resources = field(default_factory=Resources)
    """What each trial gets, on which machines, and how often it is tried."""
    tracking: Tracking = field(default_factory=Tracking)
    """Where else the epochs go, besides the study's folder."""

    def __post_init__(self) -> None:
        check_study_name(self.name)
        check_storage_name(self.storage)
