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
from typing import Any

import numpy as np
import pytest
import torch

from tune_mnist.shell.process_state import process_state_kept


def state() -> dict[str, Any]:
    """All that the process is to keep, fit for comparing."""
    logger = logging.getLogger("tests.kept")
    return {
        "environment": dict(os.environ),
        "loggers": [(one.level, list(one.handlers), one.propagate, one.disabled) for one in (logging.root, logger)],
        "disabled": logging.root.manager.disable,
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "collector": gc.get_threshold(),
        "random": (random.getstate(), repr(np.random.get_state(legacy=False)), torch.get_rng_state().tolist()),
        "numpy": np.geterr(),
        "torch": (
            torch.get_num_threads(), float(torch.tensor([1e-45]) * 1.0), torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
    }


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
