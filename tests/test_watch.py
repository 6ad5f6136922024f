"""Tests of watch in a real browser: curves there within two seconds of an epoch's end, few or many; how it looks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.browser import Page, find_browser, open_page
from support.stored import row, timing
from support.studies import ABOUT
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, PlannedTraining, training_key
from tune_mnist.study.lock import study_lock
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress

ROOT = Path(__file__).parents[1]
CONTEXT = Context(protocol="holdout", data_sha256="ab" * 32)
WITHIN_SECONDS = 2.0
BADGE = "document.getElementById('state').textContent"
POINTS = "Number(byId('accuracy').dataset.points)"
PAINTED = """(() => {
  const canvas = byId('%s'), pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((level, i) => i %% 4 === 3 && level > 0).length;
})()"""


def made(folder: Path, spec: StudySpec, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of the spec, of which all trainings but the last have two epochs of four, saved without waiting."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    study = Study(folder)
    folder.mkdir(parents=True)
    study.create()
    study.add(spec, CONTEXT, ABOUT)
    plans = spec.trainings()
    for number, plan in enumerate(plans[:-1]):
        save(study, plan, 2, 0.9 + 0.05 * number / len(plans))
    return study


def save(study: Study, plan: PlannedTraining, epochs: int, accuracy: float) -> None:
    """Save so many epochs of a training, each better than the one before."""
    folder = study.training(training_key(plan.config, CONTEXT))
    folder.begin(plan.config, CONTEXT)
    rows = [{**row(epoch, 1 / epoch), "val_accuracy": accuracy + 0.01 * epoch} for epoch in range(1, epochs + 1)]
    folder.save(Progress(rows, [timing(epoch) for epoch in range(1, epochs + 1)]))


@contextlib.contextmanager
def watched(study: Study) -> Iterator[str]:
    """The address of the study's page, served by the command, which must end well when interrupted."""
    command = [sys.executable, "-m", "tune_mnist.watch", str(study.folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        assert server.stdout is not None
        (found,) = re.findall(r"on (http://127\.0\.0\.1:\d+);", server.stdout.readline())
        yield found
    finally:
        server.send_signal(signal.SIGINT)
        code = server.wait(30)
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize(("lrs", "sizes", "seeds"), [(4, 4, 3), (25, 20, 20)])
def test_an_epoch_is_on_the_page_within_two_seconds_of_its_end(
    lrs: int, sizes: int, seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    pytest.importorskip("aiohttp", reason="drives the browser")
    spec = StudySpec(
        models=("SimpleNN",), lr=tuple(round(1e-4 * 1.2**power, 7) for power in range(lrs)),
        batch_size=tuple(16 * (n + 1) for n in range(sizes)), epochs=(4,), seeds=seeds,
    )
    study = made(tmp_path / "many", spec, monkeypatch)
    with study_lock(study.folder), watched(study) as address:
        asyncio.run(watch_and_check(program, address, study, spec.trainings()))


async def watch_and_check(program: str, address: str, study: Study, plans: list[PlannedTraining]) -> None:
    async with open_page(program, address) as page:
        await page.value("var failures = []; addEventListener('error', event => failures.push(event.message))")
        await page.until(f"{BADGE} === 'running' && {POINTS} > 0", 60)
        assert await page.value("curves.size") == min(200, len(plans) - 1)
        seconds = []
        for epoch in range(1, 5):  # of the worst training, which is drawn for it runs
            await asyncio.sleep(0.31)  # so that the page's questions and the epochs do not keep step
            before = await page.value(POINTS)
            save(study, plans[-1], epoch, 0.5)
            started = time.monotonic()
            await page.until(f"{POINTS} !== {before}", 30)
            seconds.append(time.monotonic() - started)
        print(f"{len(plans)} trainings: on the page after", *(f"{each:.2f}" for each in seconds), "s")
        assert statistics.median(seconds) <= WITHIN_SECONDS
        assert await page.value("document.querySelectorAll('#rows tr').length") == min(50, len(plans))
        assert await page.value("document.querySelectorAll('*').length") < 1500
        assert await page.value("failures") == []


@pytest.mark.slow
def test_the_page_filters_marks_and_fits_wide_and_narrow_light_and_dark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    pytest.importorskip("aiohttp", reason="drives the browser")
    spec = StudySpec(models=("SimpleNN", "CNN"), lr=(1e-3, 1e-2), batch_size=(16, 32), epochs=(4,), seeds=2)
    study = made(tmp_path / "<b>few", spec, monkeypatch)
    with watched(study) as address:
        asyncio.run(use_and_check(program, address))


async def use_and_check(program: str, address: str) -> None:
    async with open_page(program, address) as page:
        await page.value("var failures = []; addEventListener('error', event => failures.push(event.message))")
        await page.until(f"{BADGE} === 'stopped' && curves.size === 15", 30)
        assert await page.value("byId('study').textContent") == "<b>few"  # text, and no markup
        for width in (400, 1400):
            for scheme in ("light", "dark"):
                await page.look(width, 900, scheme)
                await page.until(f"dark.matches === {str(scheme == 'dark').lower()}")
                await asyncio.sleep(0.3)
                assert await page.value("document.documentElement.scrollWidth") <= width
                for chart in ("accuracy", "loss"):
                    assert await page.value(PAINTED % chart) > 1000
        await press(page, "model", "CNN")
        await page.until("curves.size === 7")
        await press(page, "batch size", "16")
        await page.until("curves.size === 4 && byId('rows').rows.length === 4")
        cells = "[...row.cells].slice(0, 3).map(cell => cell.textContent)"
        texts = await page.value(f"[...byId('rows').rows].map(row => {cells})")
        assert {(model, size) for model, _, size in texts} == {("CNN", "16")}
        await page.value("byId('rows').rows[0].dispatchEvent(new PointerEvent('pointerenter'))")
        await page.until("byId('said').textContent.startsWith('CNN, lr 0.01, batch size 16, seed 1, epoch 2: 9')")
        assert await page.value("document.querySelectorAll('#rows .marked').length") == 1
        await page.value("[...document.querySelectorAll('button')].find(one => one.textContent === 'show all').click()")
        await page.until("curves.size === 15")
        assert await page.value("failures") == []


async def press(page: Page, setting: str, value: str) -> None:
    """Press the button of a setting's value."""
    await page.value(
        f"[...document.querySelectorAll('fieldset')].find(box => box.firstChild.textContent === '{setting}')"
        f".querySelectorAll('button').forEach(one => one.textContent === '{value}' && one.click())"
    )
