"""What a run sets in its process, put back when it is over: in a notebook the process is the user's."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

Restore = Callable[[], object]


@contextlib.contextmanager
def process_state_kept() -> Iterator[None]:
    """Leave the process after the block, however it ends, as it was before.

    That is: environment, loggers, signal handlers, exception hooks, warning filters, garbage collector's thresholds,
    and the random and numeric state of Python, NumPy and torch, of those that were imported by then.
    """
    with warnings.catch_warnings(), contextlib.ExitStack() as restored:
        for restore in _restores():
            restored.callback(restore)
        yield


def _restores() -> Iterator[Restore]:
    yield partial(_restore_environment, dict(os.environ))
    yield from map(_restore_logger, [logging.root, *logging.root.manager.loggerDict.values()])
    yield partial(logging.disable, logging.root.manager.disable)
    if threading.current_thread() is threading.main_thread():
        yield partial(_restore_signals, {number: signal.getsignal(number) for number in signal.valid_signals()})
    for module, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        yield partial(setattr, module, name, getattr(module, name))
    yield partial(gc.set_threshold, *gc.get_threshold())
    yield partial(random.setstate, random.getstate())
    if "numpy" in sys.modules:
        yield from _restore_numpy()
    if "torch" in sys.modules:
        yield from _restore_torch()


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


def _restore_logger(logger: Any) -> Restore:
    """What puts a logger's level, handlers and the like back; nothing for a mere place in the tree of names."""
    if not isinstance(logger, logging.Logger):
        return lambda: None
    level, handlers, propagate, disabled = logger.level, list(logger.handlers), logger.propagate, logger.disabled

    def restore() -> None:
        logger.setLevel(level)
        logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, disabled

    return restore


def _restore_signals(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _restore_numpy() -> Iterator[Restore]:
    import numpy as np

    yield partial(np.random.set_state, np.random.get_state())
    yield partial(np.seterr, **np.geterr())


def _restore_torch() -> Iterator[Restore]:
    import torch

    yield partial(torch.set_num_threads, torch.get_num_threads())
    yield partial(torch.set_rng_state, torch.get_rng_state())
    flushes = bool((torch.tensor([1e-45]) * 1.0 == 0).item())  # torch does not tell otherwise
    yield partial(torch.set_flush_denormal, flushes)
    yield partial(_restore_determinism, torch.get_deterministic_debug_mode())
    yield partial(torch.set_default_dtype, torch.get_default_dtype())


def _restore_determinism(mode: int) -> None:
    import torch

    if torch.get_deterministic_debug_mode() != mode:  # for setting it imports much
        torch.set_deterministic_debug_mode(mode)
