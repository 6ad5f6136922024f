"""The data sets that torchvision downloads, in a cache folder."""

from __future__ import annotations

import os
import socket
import string
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path

from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.places import home_expanded

EMNIST = "emnist-"
CLASSES_AND_OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "fashion-mnist": ("FashionMNIST", {}),
    "kmnist": ("KMNIST", {}),
    **{EMNIST + split: ("EMNIST", {"split": split}) for split in ("digits", "letters", "balanced")},
}
"""Of each data set torchvision's class and its options."""
CLASS_NAMES = {
    # https://github.com/zalandoresearch/fashion-mnist, https://github.com/rois-codh/kmnist
    "fashion-mnist": (
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    # Cohen et al., EMNIST (arXiv:1702.05373): letters of both cases; balanced: lower case where it looks otherwise
    "emnist-letters": tuple(string.ascii_uppercase),
    "emnist-balanced": tuple(string.digits + string.ascii_uppercase + "abdefghnqrt"),
}
"""What the classes of data sets are called whose classes are no digits."""
TIMEOUT_SECONDS = 30.0  # without a byte, before a download counts as failed


def downloaded_folder(name: str, files: Iterable[str], download: bool) -> Path:
    """The folder with a data set's `files` in the cache, where `download` puts them if they are not there.

    The cache is $TUNE_MNIST_CACHE or ~/.cache/tune_mnist.

    Raises:
        UserError: a file is not there and not to be downloaded, or the download failed.
    """
    cache = home_expanded(Path(os.environ.get("TUNE_MNIST_CACHE") or "~/.cache/tune_mnist"))
    folder = cache / CLASSES_AND_OPTIONS[name][0] / "raw"
    if not all(os.path.exists(folder / file) for file in files):
        require(download, f"{name} is in the cache folder {cache}", "nothing there", "pass --download to fetch it")
        _download(name, cache)
    return folder


def _download(name: str, cache: Path) -> None:
    from torchvision import datasets  # imports torch, which reading files needs not

    class_name, options = CLASSES_AND_OPTIONS[name]
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        getattr(datasets, class_name)(cache, download=True, **options)
    except (OSError, RuntimeError, EOFError, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot download {name} ({reason}): check the network or give its folder by --data") from None
    finally:
        socket.setdefaulttimeout(timeout)
