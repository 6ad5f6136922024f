"""What several commands ask for alike: types that carry their text for --help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from typing_extensions import Doc

from tune_mnist.spec.training import Protocol

DatasetName = Literal["mnist", "fashion-mnist", "kmnist", "emnist-digits", "emnist-letters", "emnist-balanced"]
DATASETS: tuple[str, ...] = get_args(DatasetName)

ProtocolChoice = Annotated[Protocol, Doc(
    "holdout: select on held-out training pictures and test once. report: select on the test set, as it did."
)]
HeadChoice = Annotated[Literal["auto", "logits", "softmax"], Doc(
    "What models end in; auto: logits, but softmax for fully connected ones under the report's protocol."
)]
DatasetChoice = Annotated[DatasetName, Doc(
    "Data set; the others than mnist are torchvision's and need --download once."
)]
DataFolder = Annotated[Path | None, Doc(
    "Folder of four IDX files, named as MNIST's (plain or .gz), used instead of a data set by name."
)]
TrustCode = Annotated[bool, Doc(
    "Run the code of a model that somebody else may have written, and whose file you have read."
)]
Download = Annotated[bool, Doc("Let torchvision download the data set of --dataset if it is not there.")]
