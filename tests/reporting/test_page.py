"""The page: self-contained, whole, escaped, repeatable."""

from __future__ import annotations

import html.parser
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.studies import ABOUT, made_study
from tune_mnist import report
from tune_mnist.grid import GridArgs, from_toml
from tune_mnist.reporting.page import command
from tune_mnist.reporting.publish import write_results
from tune_mnist.shell.arguments import parse
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Recipe
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
        replace(SPEC, recipe=Recipe(dropout=0.25, schedule="cosine", rotation=10)),
    ],
)
def test_the_command_that_repeats_a_study_asks_for_the_very_same(spec: StudySpec) -> None:
    *_, module = (words := shlex.split(command(spec, "mine")))[:3]
    assert module == "tune_mnist.grid"
    args = parse(GridArgs, words[3:], prog="grid", description="", from_toml=from_toml)
    assert (args.spec, args.name) == (spec, "mine")
