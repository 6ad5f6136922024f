"""What a block sets in its process is as before when it is left."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings

import numpy as np
import pytest
import torch

from support.process_state import state
from tune_mnist.shell.process_state import process_state_kept


def change_everything() -> None:
    os.environ["TESTS_ADDED"] = "1"
    os.environ["HOME"] = "/elsewhere"
    os.environ.pop("PATH")
    for logger in (logging.root, logging.getLogger("tests.kept")):
        logger.setLevel(1 + logger.level)
        logger.addHandler(logging.NullHandler())
        logger.propagate, logger.disabled = not logger.propagate, not logger.disabled
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        setattr(module, name, lambda *args: None)
    warnings.simplefilter("ignore")
    warnings.showwarning = lambda *args, **kwargs: None
    gc.set_threshold(1, 1, 1)
    random.random()
    np.random.rand()
    torch.rand(1)
    np.seterr(all="ignore" if np.geterr()["divide"] != "ignore" else "warn")
    torch.set_num_threads(1 + torch.get_num_threads())
    torch.set_flush_denormal(torch.tensor([1e-45]).item() * 1.0 != 0)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True, warn_only=True)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_everything_is_as_before(error: type[BaseException] | None) -> None:
    logging.getLogger("tests.kept")
    before = state()
    for _ in range(2):
        try:
            with process_state_kept():
                change_everything()
                changed = state()
                if error is not None:
                    raise error
        except (KeyboardInterrupt, ValueError):
            pass
        assert state() == before
    assert {name for name in before if changed[name] == before[name]} == set()


def test_in_another_thread_signals_are_left_alone() -> None:
    seen = []

    def run() -> None:
        with process_state_kept():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
