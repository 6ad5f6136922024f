"""Tests of the data sets that torchvision downloads, from a server on this machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from support.idx import random_arrays, write_folder
from tune_mnist.spec.errors import UserError
from tune_mnist.training.dataset import load_dataset


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let urllib, which keeps the proxies it first saw, go straight to this machine's addresses."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    monkeypatch.setattr(urllib.request, "_opener", opener)


@pytest.mark.usefixtures("no_proxy")
def test_a_download_lands_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import KMNIST

    arrays = random_arrays()
    site = write_folder(tmp_path / "site", arrays, compress=True)
    files = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in site.iterdir()]
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(KMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(KMNIST, "resources", files)
        monkeypatch.setenv("TUNE_MNIST_CACHE", str(tmp_path / "cache"))
        fetched = load_dataset("kmnist", download=True)
        server.shutdown()
    assert all(np.array_equal(getattr(fetched, part), array) for part, array in arrays.items())
    assert load_dataset("kmnist").sha256 == fetched.sha256


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a log."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.usefixtures("no_proxy")
def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import KMNIST

    monkeypatch.setattr(KMNIST, "mirrors", ["http://127.0.0.1:9/"])  # no one listens there
    monkeypatch.setenv("TUNE_MNIST_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot download kmnist \(.*refused.*\): check the network") as caught:
        load_dataset("kmnist", download=True)
    assert "\n" not in str(caught.value)
