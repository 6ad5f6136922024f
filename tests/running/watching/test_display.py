"""Tests of a run's display: plain lines without a terminal, seldom, and the whole of it in a table on one."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from tune_mnist.running.watching.display import LINE_SECONDS, SHOWN, Display, view
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.progress import RunState

PLANS = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2), batch_size=(32,), epochs=(2,)).trainings()
ROW = {"epoch": 1, "train_loss": 0.5, "val_accuracy": 0.75, "train_seconds": 2.0, "eval_seconds": 0.5}


def test_without_a_terminal_a_line_comes_seldom_and_the_last_one_always(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    out = io.StringIO()
    first, second = (plan.config for plan in PLANS)
    with Display(RunState(PLANS, "val_accuracy"), Console(file=out, width=20)) as display:
        display.state.start(first)
        display.update()
        assert out.getvalue() == ""
        display.state.epoch(first, ROW)
        now += LINE_SECONDS
        display.update()
        display.update()
        display.tell("[a line] that stays")
        display.state.end(first, "complete")
        display.state.end(second, "failed")
    best = f"best val_accuracy 75.00% ({first.label}, epoch 1)"
    assert out.getvalue().splitlines() == [
        f" 25%  1/4 model-epochs, 0/2 trainings, 1 running, {best}, about 0:08 left",
        "[a line] that stays",
        f" 50%  2/4 model-epochs, 2/2 trainings, 0 running, 1 failed, {best}",
    ]


def test_the_view_has_a_row_for_each_training_that_runs() -> None:
    state = RunState(PLANS, "val_accuracy")
    state.start(PLANS[0].config)
    state.epoch(PLANS[0].config, ROW)
    state.start(PLANS[1].config)
    out = io.StringIO()
    Console(file=out, width=150).print(view(state))
    shown = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert "lr epoch train loss val_accuracy" in shown  # what varies
    assert "0.001 1 0.5000 75.00%" in shown
    assert "0.01 - - -" in shown
    assert "1/4 model-epochs, about" in shown[0]
    assert shown[-2:] == ["0/2 trainings, 2 running", f"best val_accuracy 75.00% ({PLANS[0].config.label}, epoch 1)"]


def test_the_view_and_the_line_name_whatever_varies_in_80_columns() -> None:
    spec = StudySpec(
        models=("MLP",), own={"MLP": {"hidden": ("64", "256-128"), "activation": ("relu", "leaky_relu")}},
        optimizer=("adam", "sgd"), lr=(1e-2, 1e-3), dropout=(0.0, 0.2), batch_size=64, epochs=(2,),
    )
    state = RunState(spec.trainings(), "val_accuracy")
    last = spec.trainings()[-1].config
    state.epoch(last, ROW)
    assert "(MLP-lr0.001-b64-s0-sgd-dropout0.2-leaky_relu-hidden256-128, epoch 1)" in state.summary()
    out = io.StringIO()
    Console(file=out, width=80).print(view(state))
    text = out.getvalue()
    for told in ("lr", "activation", "hidden", "optimizer", "dropout", "leaky_relu", "256-128", "sgd", "0.2", "75.00%"):
        assert told in text
    assert "…" not in text and max(map(len, text.splitlines())) <= 80


def test_on_80_columns_no_line_of_the_view_is_broken() -> None:
    spec = StudySpec(models=("ComplexNN",), lr=(0.00012345,), batch_size=(512,), epochs=(15,), seeds=1200)
    state = RunState(spec.trainings(), "val_accuracy")
    for plan in state.plans:
        state.start(plan.config)
        state.epoch(plan.config, ROW | {"epoch": 15, "train_loss": 2.30259})
    out = io.StringIO()
    Console(file=out, width=80).print(view(state))
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + 1 + SHOWN + 3  # bar, head, rows, how many more, trainings, best
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines[: SHOWN + 2])
    assert lines[SHOWN + 2] == f"… and {1200 - SHOWN} more"
