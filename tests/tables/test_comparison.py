"""Two made studies whose differences are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from support.specs import changed
from support.studies import made_records, made_study, made_tables
from tune_mnist import compare
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.tables.analyse import Tables, analyse
from tune_mnist.tables.comparison import compare_studies
from tune_mnist.tables.of_study import load_study

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


def test_studies_of_other_models_and_rates_are_compared_by_their_best_and_along_what_they_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = made_study(tmp_path / "first", replace(SPEC, lr=(1e-4,)), steady, scored=9).folder
    other = replace(SPEC, models=("CNN",), lr=(1e-3,))
    second = made_study(tmp_path / "second", other, better_at_once, scored=9).folder
    assert compare.main([str(first), str(second), "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told["settings"]["model"] == ["SimpleNN", "CNN"] and told["settings"]["lr"] == ["0.0001", "0.001"]
    assert told["along"] == ["batch_size", "epochs"] and len(told["cells"]) == 6
    tables = load_study(first), load_study(second)
    for best, each in zip(told["best"], tables, strict=True):
        assert best["accuracy"] == pytest.approx(each.summary["mean"].max()) and best["cells"] == 6
        assert best["test_accuracy"] == pytest.approx(each.top3["test_accuracy"].iloc[0])
    bests = [each.summary["mean"].max() for each in tables]
    assert told["difference"]["difference"] == pytest.approx(bests[1] - bests[0]) and told["difference"]["p"] < 0.05
    assert compare.main([str(first), str(second), "--along", "epochs"]) == 0
    out = capsys.readouterr().out
    assert "they differ in model: SimpleNN in first, CNN in second" in out and "2 of 2 shared cells" in out
    assert max(map(len, out.partition("The best cells")[2].partition("shared cells")[0].splitlines())) <= 80


def test_cells_compared_along_a_setting_are_the_best_with_each_value() -> None:
    first, second = made_tables(SPEC, steady), made_tables(SPEC, better_at_once)
    found = compare_studies(first, second, same_pictures=True, along=["lr"]).cells.set_index("lr")
    for lr, row in found.iterrows():
        for tables, mean in ((first, row["first"]), (second, row["second"])):
            assert mean == pytest.approx(tables.summary["mean"][tables.summary["lr"] == lr].max())
    assert list(found.index[found["beyond_noise"]]) == [1e-3]


def test_a_setting_that_varies_in_both_is_matched_and_one_without_common_values_is_not() -> None:
    def dropped(*values: float) -> Tables:
        specs = [changed(SPEC, dropout=value) for value in values]
        plans = [plan for spec in specs for plan in spec.trainings()]
        return analyse(plans, [record for spec in specs for record in made_records(spec, steady)], "holdout")

    one, other, none = dropped(0.0, 0.2), dropped(0.2, 0.5), dropped(0.3, 0.4)
    shared = compare_studies(one, other, same_pictures=True)
    assert "dropout" in shared.along and set(shared.cells["dropout"]) == {0.2} and len(shared.cells) == 18
    assert (shared.only_first, shared.only_second) == (18, 18)
    fixed = compare_studies(one, dropped(0.2), same_pictures=True)
    assert "dropout" in fixed.along and len(fixed.cells) == 18
    assert "dropout" not in compare_studies(one, none, same_pictures=True).along


@pytest.mark.parametrize(("words", "told"), [
    (["--along", "dropout_rate"], "values in common of each setting of --along"), (["--along", "lr"], "such are batch"),
])
def test_what_cannot_be_compared_along_is_told_in_a_line(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = made_study(tmp_path / "first", replace(SPEC, lr=(1e-4,), seeds=1), steady).folder
    second = made_study(tmp_path / "second", replace(SPEC, lr=(1e-3,), seeds=1), steady).folder
    assert compare.main([str(first), str(second), *words]) == 2
    assert told in capsys.readouterr().err


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
    assert "they differ in dropout: 0 in first, 0.5 in second" in differing
    assert told[: len(differing)] == differing
    assert compare.main([str(first), str(first), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == {}
