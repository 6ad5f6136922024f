"""Two made studies whose differences are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from support.specs import changed
from support.studies import made_study, made_tables
from tune_mnist import compare
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.tables.comparison import compare_studies

SPEC = StudySpec(models=("SimpleNN",), lr=(1e-4, 1e-3, 1e-2), batch_size=(16, 32, 64), epochs=(1, 2), seeds=3)


def steady(config: TrainingConfig, epoch: int) -> float:
    wobble = (config.seed * 5 + config.batch_size + round(1e4 * config.lr) + epoch) % 7 - 3
    return 0.96 + 0.0005 * wobble


def better_at_once(config: TrainingConfig, epoch: int) -> float:
    """The same, but for one rate 1 point better, with the seeds' noise another way round."""
    other = replace(config, seed=config.seed + 1)
    return steady(other, epoch) + (0.01 if config.lr == 1e-3 else 0)


@pytest.mark.parametrize(("seeds", "method"), [(1, "McNemar"), (3, "Welch's t tests over seeds, ")])
def test_the_rate_that_differs_is_found_and_no_other(seeds: int, method: str) -> None:
    spec = replace(SPEC, seeds=seeds)
    first, second = made_tables(spec, steady), made_tables(spec, better_at_once)
    comparison = compare_studies(first, second, same_pictures=True)
    differing = comparison.cells[comparison.cells["beyond_noise"]]
    assert set(differing["lr"]) == {1e-3}
    assert len(differing) == 6 or seeds == 1
    assert differing["difference"].to_numpy() == pytest.approx(0.01, abs=0.004)
    assert comparison.cells["beyond_noise"].is_monotonic_decreasing
    by_hand = (comparison.cells["second"] - comparison.cells["first"]).to_numpy()
    assert by_hand == pytest.approx(comparison.cells["difference"].to_numpy())
    assert method in comparison.method


def test_a_study_does_not_differ_from_itself() -> None:
    tables = made_tables(SPEC, steady)
    comparison = compare_studies(tables, tables, same_pictures=True)
    assert (comparison.cells["difference"] == 0).all() and not comparison.cells["beyond_noise"].any()


def test_only_shared_cells_and_seeds_are_compared() -> None:
    first, second = made_tables(SPEC, steady), made_tables(replace(SPEC, lr=(1e-3, 5e-3), seeds=2), steady)
    comparison = compare_studies(first, second, same_pictures=True)
    assert set(comparison.cells["lr"]) == {1e-3}
    assert (comparison.only_first, comparison.only_second) == (12, 6)
    assert (comparison.cells["difference"] == 0).all()


def test_other_pictures_are_compared_unpaired() -> None:
    tables = made_tables(SPEC, steady)
    found = compare_studies(tables, made_tables(replace(SPEC, protocol="report"), steady), same_pictures=False)
    assert "over seeds and pictures" in found.method and not found.cells["beyond_noise"].any()
    one_seed = replace(SPEC, seeds=1)
    tables, report = made_tables(one_seed, steady), made_tables(replace(one_seed, protocol="report"), steady)
    networks = compare_studies(tables, report, same_pictures=False)
    assert "Fisher" in networks.method and not networks.cells["beyond_noise"].any()


def test_the_command_says_how_many_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = made_study(tmp_path / "first", SPEC, steady).folder
    second = made_study(tmp_path / "second", SPEC, better_at_once).folder
    assert compare.main([str(first), str(second)]) == 0
    printed = capsys.readouterr().out
    assert "6 of 18 shared cells differ beyond noise" in printed and "Holm" in printed
    assert compare.main([str(first), str(second), "--json"]) == 0
    cells = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["cells"]
    assert len(cells) == 18 and cells[0]["lr"] == 1e-3


def test_studies_that_share_nothing_are_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = made_study(tmp_path / "first", replace(SPEC, lr=(1e-4,), seeds=1), steady).folder
    second = made_study(tmp_path / "second", replace(SPEC, lr=(1e-3,), seeds=1), steady).folder
    assert compare.main([str(first), str(second)]) == 2
    assert "share no complete cell" in capsys.readouterr().err


def test_what_differs_between_studies_is_said_before_what_differs_between_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = made_study(tmp_path / "first", SPEC, steady).folder
    other = changed(SPEC, protocol="report", head="softmax", dropout=0.5)
    second = made_study(tmp_path / "second", other, steady).folder
    assert compare.main([str(first), str(second)]) == 0
    told = capsys.readouterr().out.splitlines()
    differing = [line for line in told if line.startswith("they differ in ")]
    assert "they differ in protocol: holdout in first, report in second" in differing
    assert "they differ in head: logits in first, softmax in second" in differing
    assert "they differ in dropout: 0.0 in first, 0.5 in second" in differing
    assert told[: len(differing)] == differing
    assert compare.main([str(first), str(first), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == {}
