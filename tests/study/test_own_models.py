"""Tests of models of one's own kept beside what they trained, and of whose code is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.own import NET, net
from support.specs import CONTEXT
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import training_key
from tune_mnist.study import own_models
from tune_mnist.study.own_models import models_in, read_model_of, remember, require_known, save_model
from tune_mnist.study.study import Study


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_MNIST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(own_models, "_named", set())


def test_a_kept_model_reads_back_with_its_settings(tmp_path: Path) -> None:
    model = net(tmp_path / "a")
    save_model(tmp_path / "kept", model)
    again = read_model_of(tmp_path / "kept")
    assert again == model and again.settings == model.settings and again.name == model.name
    assert (again.shared, again.classes, again.given) == (model.shared, model.classes, model.given)
    assert (tmp_path / "kept" / "net.py").read_text() == NET


def test_a_changed_source_is_told_and_written_again(tmp_path: Path) -> None:
    model = net(tmp_path / "a")
    save_model(tmp_path / "kept", model)
    (tmp_path / "kept" / "net.py").write_text(NET + "\n")
    with pytest.raises(UserError, match=r"the model in .*kept is damaged \(its text was changed\): restore it"):
        read_model_of(tmp_path / "kept")
    save_model(tmp_path / "kept", model)
    assert read_model_of(tmp_path / "kept") == model
    with pytest.raises(FileNotFoundError, match="model.json"):
        read_model_of(tmp_path / "nothing")


def test_a_study_knows_its_models_without_their_file_and_each_version_by_its_name(tmp_path: Path) -> None:
    study = Study(tmp_path / "s")
    study.folder.mkdir()
    study.create()
    specs = []
    for text in (NET, NET.replace("width: int = 8", "width: int = 9")):
        model = net(tmp_path / "a", text)
        specs.append(StudySpec(models=[model], lr=1e-3, batch_size=8, own={"Net": {"width": [4, 16]}}, epochs=1))
        study.add(specs[-1], CONTEXT)
    (tmp_path / "a" / "net.py").unlink()
    assert study.specs() == specs and len(models_in(study.folder)) == 2
    plans = study.planned()
    assert len(plans) == 4 == len({training_key(plan.config, CONTEXT) for plan in plans})
    assert {plan.config.model for plan in plans} == {spec.models[0] for spec in specs}
    assert {plan.config.value("width") for plan in plans} == {4, 16}


def test_code_is_run_only_if_it_was_named_before_or_is_trusted(tmp_path: Path) -> None:
    first, second = net(tmp_path / "a"), net(tmp_path / "b", NET + "\nother = 1\n")
    with pytest.raises(UserError, match=r"would run the code in .*kept/net.py, which you have not: read it"):
        require_known(first, tmp_path / "kept")
    remember([first])
    require_known(first, tmp_path / "kept")
    own_models._named.clear()  # as in another process
    require_known(first, tmp_path / "kept")
    with pytest.raises(UserError, match="--trust-code"):
        require_known(second, tmp_path / "kept")
    require_known(second, tmp_path / "kept", trusted=True)
    require_known(second, tmp_path / "kept")
