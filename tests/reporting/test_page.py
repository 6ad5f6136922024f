"""The page: self-contained, whole, escaped, repeatable."""

from __future__ import annotations

import asyncio
import html
import html.parser
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.browser import Page, find_browser, open_page
from support.searches import SPEC as SEARCH
from support.searches import opened, run_all, train
from support.specs import changed
from support.studies import ABOUT, made_study, made_tables
from tune_mnist import report, search
from tune_mnist.grid import GridArgs, from_toml
from tune_mnist.reporting.page import MOST_ROWS, SHOWN_CELLS
from tune_mnist.reporting.publish import write_results
from tune_mnist.reporting.render import report_page
from tune_mnist.search import SearchArgs
from tune_mnist.search_experiment import write_search
from tune_mnist.shell.arguments import parse
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Range, Space
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.words.command_line import command_line
from tune_mnist.study.study import Study
from tune_mnist.tables.of_study import tables_of

SPEC = StudySpec(models=("SimpleNN", "ComplexNN"), lr=(1e-4, 1e-3), batch_size=(16, 64), epochs=(2, 4), seeds=2)
VOID = {"meta", "img", "br", "link", "input", "hr"}


def page(folder: Path, spec: StudySpec = SPEC, **kwargs: Any) -> str:
    study = made_study(folder, spec, **kwargs)
    *_, path = write_results(study, tables_of(study))
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


class Outline(html.parser.HTMLParser):
    """Checks that tags nest, and collects what a page refers to, its ids and its rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.rows = 0
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [value for name in ("src", "href") if (value := given.get(name))]
        self.ids |= {value for value in [given.get("id")] if value}
        self.rows += tag == "tr" and "table" in self.open and "tbody" in self.open
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    text = page(tmp_path / "study", scored=3)
    outline = Outline(text)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in outline.links)
    assert {link[1:] for link in outline.links if link.startswith("#")} <= outline.ids
    written = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", written)
    assert outline.rows >= 16
    for about in ("How many seeds would tell these apart", "Which settings matter", "Checklist for repeating it"):
        assert about in text
    assert written.count("<li>Of ") == 3  # the summary's
    for said in ("prefers-color-scheme: dark", "@media print", "viewport", "measured once", "C10", "Holm"):
        assert said in text


@pytest.mark.slow
def test_the_same_study_gives_the_same_bytes_and_another_run_another_footer(tmp_path: Path) -> None:
    first = page(tmp_path / "a" / "study", scored=3)
    study = made_study(tmp_path / "a" / "study", SPEC)
    write_results(study, tables_of(study))
    again = (tmp_path / "a" / "study" / "report.html").read_text()
    elsewhere = page(tmp_path / "b" / "study", scored=3, seconds=2.0, about={**ABOUT, "started": "2026-02-02T00:00:00"})
    assert first.split("<footer")[0] == again.split("<footer")[0] == elsewhere.split("<footer")[0]
    assert first != elsewhere


def test_what_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    machine = {**ABOUT["machine"], "cpu": '"><b>'}
    hostile = {**ABOUT, "python": "<script>alert(1)</script>", "machine": machine}
    text = page(tmp_path / "study", replace(SPEC, data=Path("<i>data</i>")), about=hostile)
    assert "<script>alert" not in text and "<i>data" not in text and "&lt;i&gt;data&lt;/i&gt;" in text
    Outline(text)


def test_under_report_the_page_says_where_the_choice_was_made_and_compares(tmp_path: Path) -> None:
    study = made_study(tmp_path / "report", replace(SPEC, protocol="report"))
    held = made_study(tmp_path / "holdout", SPEC, scored=6)
    assert report.main([str(study.folder), str(held.folder)]) == 0
    text = (study.folder / "report.html").read_text()
    assert "The choice was made on the test set" in text
    assert "The two protocols on the same test set" in text and "chosen on validation, tested once" in text
    assert "The choice was made on the test set" not in page(tmp_path / "other")


def test_a_study_not_begun_or_begun_in_part_has_a_page(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", replace(SPEC, seeds=1))
    for history in sorted((tmp_path / "study" / "trainings").rglob("history.json"))[1:]:
        history.unlink()
    *_, path = write_results(study, tables_of(study))
    assert "missing" in path.read_text()
    for history in (tmp_path / "study" / "trainings").rglob("history.json"):
        history.unlink()
    *_, path = write_results(study, tables_of(study))
    assert "No cell is complete yet" in path.read_text()
    Outline(path.read_text())


@pytest.mark.parametrize(
    "spec",
    [
        StudySpec(),
        SPEC,
        replace(SPEC, protocol="report", head="logits", independent_epochs=True, dataset="kmnist"),
        changed(SPEC, dropout=0.25, schedule="cosine", rotation=10),
    ],
)
def test_the_command_that_repeats_a_study_asks_for_the_very_same(spec: StudySpec) -> None:
    *_, module = (words := shlex.split(command_line(spec, "mine")))[:3]
    assert module == "tune_mnist.grid"
    args = parse(GridArgs, words[3:], prog="grid", description="", from_toml=from_toml)
    assert (args.spec, args.name) == (spec, "mine")


def test_a_grid_over_any_settings_tells_of_them_and_of_no_claims(tmp_path: Path) -> None:
    spec = StudySpec(
        models=("MLP",), own={"MLP": {"hidden": ("64", "256-128")}}, optimizer=("adam", "sgd"), lr=(1e-3,),
        dropout=(0.0, 0.2), batch_size=(64,), epochs=(2, 5),
    )
    text = page(tmp_path / "study", spec, accuracy=lambda config, epoch: 0.9 + 0.01 * epoch - config.dropout / 10)
    outline = Outline(text)
    best = tables_of(Study(tmp_path / "study")).top3.iloc[0]
    assert f"<h1>MLP, optimizer {best['optimizer']}, dropout 0, hidden {best['hidden']}, 5 epochs comes first" in text
    assert "All have: lr 0.001, batch 64." in text
    assert "claims" not in outline.ids and "claims" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    assert "heatmaps" in outline.ids and "Accuracy along each setting that varies" in text
    assert text.count('<table class="map">') == 3
    first = {"dropout, down, by number of epochs, across", "number of epochs, down, by dropout, across"}
    assert first & set(re.findall("<caption>(.*?)</caption>", text)[:1])
    names = {path.stem for path in (tmp_path / "study" / "figures").glob("*.png")}
    assert "accuracy_by_setting" in names and "accuracy_by_lr" not in names


def test_the_table_of_shares_has_what_varies_among_all_cells_though_the_leaders_have_one_value_of_it(
    tmp_path: Path,
) -> None:
    spec = StudySpec(
        models=("SimpleNN",), lr=(1e-3, 1e-1), optimizer=("adam", "sgd"), batch_size=(16, 64), epochs=(2,), seeds=2
    )
    text = page(tmp_path, spec, accuracy=lambda config, epoch: (
        0.2 + 0.01 * config.seed if config.lr > 0.01 else 0.97 + 1e-4 * config.seed - 1e-4 * config.batch_size
    ))
    rows = re.findall(r'<tr><td class="left">([^<]+)</td>', text.split("Which settings matter")[1].split("</table>")[0])
    assert {"lr", "optimizer", "batch size", "seed"} < set(rows)


def test_the_page_of_a_search_shows_its_figures_and_repeats_it_by_its_own_command(tmp_path: Path) -> None:
    space = Space(models=("SimpleNN", "MediumNN"), lr=Range(1.2345678e-4, 0.1), batch_size=(16, 32))
    spec = replace(SEARCH, space=space)
    trials = opened(tmp_path, spec)
    trials.study.add(None, trials.context, ABOUT)
    trials.study.record_search(command_line(spec, "s"), over=False)
    first = trials.next()
    assert first is not None
    train(trials, first, 1)
    trials.end(first)
    run_all(trials)
    trials.study.record_search(command_line(spec, "s"), over=True)
    write_search(trials)
    *_, path = write_results(trials.study, tables_of(trials.study))
    text = path.read_text()
    assert {"search", "cells"} <= Outline(text).ids
    assert re.findall("<caption>(.*?)</caption>", text) == ["batch size, down, by model, across"]  # none of the rates
    shown = command_line(spec, "s")
    assert "0.00012345678:0.1" in shown and html.escape(shown) in text
    assert "python -m tune_mnist.grid" not in text.partition('id="how"')[2].partition("</pre>")[0]
    assert ">stopped early</td>" in text and "pruned" not in text
    assert "Each trial&#39;s course by epoch" in text
    write_results(trials.study, tables_of(trials.study))  # as the report command does, from the folder alone
    assert path.read_text() == text


@pytest.mark.parametrize("spec", [
    SearchSpec(), SearchSpec(
        space=Space(
            models=("MLP", "CNN"), lr=Range(1e-5, 0.123456789), optimizer=("adam", "sgd"), nesterov=(False, True),
            momentum=(0.0, 0.9), own={"MLP": {"hidden": ("64", "256-128")}, "CNN": {"dropout": Range(0.1, 0.4)}},
        ),
        trials=7, timeout=12.5, sampler="random", scheduler="none", objectives=("val_loss", "parameters"), seed=3,
    ),
])
def test_the_command_that_repeats_a_search_asks_for_the_very_same(spec: SearchSpec) -> None:
    *_, module = (words := shlex.split(command_line(spec, "mine")))[:3]
    assert module == "tune_mnist.search"
    args = parse(SearchArgs, words[3:], prog="search", description="", from_toml=search.from_toml)
    assert (args.spec, args.name) == (spec, "mine")
LARGE = replace(SPEC, lr=tuple(1e-5 * 1.06**k for k in range(90)), seeds=1)


@pytest.fixture(scope="module")
def large_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study of 720 cells, more than it shows; they are all in summary.csv."""
    tables = made_tables(LARGE, pictures=200)
    assert len(tables.summary) == 720 > SHOWN_CELLS
    folder = tmp_path_factory.mktemp("large")
    study = made_study(folder / "study", replace(SPEC, lr=(1e-3,), seeds=1))
    path = folder / "report.html"
    path.write_bytes(report_page(study, tables, {}))
    return path


def test_a_large_study_has_its_best_cells_on_the_page_and_says_where_the_others_are(large_page: Path) -> None:
    text = large_page.read_text()
    assert "The best 500 of 720, the others are in summary.csv." in text and len(text) < 3e6
    cells = text[text.index('<table class="sortable">') : text.index('<h2 id="how">')]
    assert re.findall(r"<tr><td>(\d+)</td>", cells) == [str(rank) for rank in range(1, SHOWN_CELLS + 1)]
    for heatmap in re.findall(r'<table class="map">.*?</table>', text, flags=re.DOTALL):
        assert heatmap.count('<th scope="row">') <= MOST_ROWS and heatmap.count('<th scope="col">') <= MOST_ROWS + 1


def test_sorting_the_page_takes_no_time_that_is_felt_and_puts_missing_values_last(large_page: Path) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    pytest.importorskip("aiohttp", reason="drives the browser")
    asyncio.run(sort_and_check(program, large_page.as_uri()))


async def sort_and_check(program: str, address: str) -> None:
    table = "document.querySelector('table.sortable')"
    click = f"(k => {{ {table}.querySelectorAll('th button')[k].click(); return {table}.offsetHeight; }})"
    column = f"(k => [...{table}.tBodies[0].rows].map(row => row.cells[k].dataset.v ?? row.cells[k].textContent))"
    async with open_page(program, address) as page:
        await page.call("Performance.enable", timeDomain="threadTicks")  # processor time, as others may use it, too
        headings = await page.value(f"[...{table}.querySelectorAll('th')].map(th => th.textContent)")
        for k, heading in enumerate(headings):
            for up in (True, False):
                before = await busy_seconds(page)
                assert await page.value(f"{click}({k})") > 0
                assert await busy_seconds(page) - before < 0.2, heading  # with the layout
                values = await page.value(f"{column}({k})")
                assert len(values) == SHOWN_CELLS
                known = [value for value in values if value not in ("", "nan")]
                assert values[len(known) :].count("") + values[len(known) :].count("nan") == len(values) - len(known)
                if all(re.fullmatch(r"[-+\d.e]+", value) for value in known):
                    assert [float(value) for value in known] == sorted(map(float, known), reverse=not up), heading


async def busy_seconds(page: Page) -> float:
    """Seconds that the page's tasks have taken so far."""
    metrics = (await page.call("Performance.getMetrics"))["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))
