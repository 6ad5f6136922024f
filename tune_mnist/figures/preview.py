"""A data set's preview: its checksums and class counts in words, its first ten training pictures drawn."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tune_mnist.spec.errors import UserError, require
from tune_mnist.training.dataset import Dataset
from tune_mnist.training.idx import times


def draw_first_ten(dataset: Dataset, path: Path) -> None:
    """Draw the first ten training pictures with their labels into `path`, whole or not at all.

    Raises:
        UserError: the suffix is no picture format, or the file cannot be written.
    """
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    for axes, image, label in zip(figure.subplots(2, 5).flat, dataset.train_images, dataset.train_labels, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(str(label))
        axes.set_axis_off()
    suffixes, suffix = figure.canvas.get_supported_filetypes(), path.suffix[1:].lower()
    require(suffix in suffixes, f"figure ends in one of .{', .'.join(suffixes)}", path, "change --figure")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(unfinished, format=suffix, dpi=150)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}: change --figure") from None


def print_facts(facts: Mapping[str, Any], *, as_json: bool = False) -> None:
    """Print what `dataset.describe` gives, and `figure`, the path of the drawing: tables, or one JSON object."""
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    files = Table("file", "shape", "MD5, decompressed", title=facts["dataset"])
    for file, fact in facts["files"].items():
        files.add_row(file, times(fact["shape"]), fact["md5"])
    counts = Table("class", title="pictures per class")
    for split in facts["class_counts"]:
        counts.add_column(split, justify="right")
    by_class = list(zip(*facts["class_counts"].values(), strict=True))
    for label, row in enumerate(by_class):
        counts.add_row(str(label), *map(str, row), end_section=label == len(by_class) - 1)
    counts.add_row("total", *(str(sum(column)) for column in facts["class_counts"].values()))
    console = Console(highlight=False, soft_wrap=True)
    console.print(files, counts)
    for what, digest in facts["sha256"].items():
        console.print(f"SHA-256 {what}: {digest}")
    console.print(f"figure: {facts['figure']}")
