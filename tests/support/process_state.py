"""All of a process that a run is to leave as it was."""

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
import torch


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
