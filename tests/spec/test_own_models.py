"""Tests of models of one's own: found by file, module and class, read with what they import, and made from text."""

from __future__ import annotations

import importlib.util
import linecache
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.own.cells import text_of_class
from tune_mnist.spec.own.files import read_model
from tune_mnist.spec.own.loading import load_class
from tune_mnist.spec.own.model import SHARED, OwnModel, Source, own_model
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import SETTINGS, TrainingConfig

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width: int = 8, dropout: float = 0.0, bias: bool = True, sizes=(4, 2), act=nn.ReLU, classes=10):
        super().__init__()
        self.layer = nn.Linear(784, classes, bias=bias)

    def forward(self, pictures):
        return self.layer(pictures.flatten(1))
"""


def made(model: OwnModel, **arguments: Any) -> Any:
    return load_class(model.source.class_name, model.source.module, model.source.files)(**arguments)


def written(folder: Path, text: str = NET, name: str = "net.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_constructors_keyword_arguments_are_its_settings(tmp_path: Path) -> None:
    model = read_model(f"{written(tmp_path)}:Net")
    kinds = {name: (setting.kind, setting.default) for name, setting in model.settings.items()}
    assert kinds == {"width": ("whole number", 8), "bias": ("yes or no", True), "sizes": ("widths", "4-2")}
    assert model.shared == ("dropout",) and model.classes == "classes" and model.name.startswith("Net@")
    arguments = model.arguments({"sizes": "3-1"}, {"dropout": 0.5}, 26)
    assert arguments == {"sizes": (3, 1), "dropout": 0.5, "classes": 26}
    assert made(model, **arguments).layer.out_features == 26


def test_the_text_and_nothing_else_tells_models_apart(tmp_path: Path) -> None:
    first = read_model(f"{written(tmp_path / 'a')}:Net")
    again = read_model(f"{written(tmp_path / 'b')}:Net")
    edited = read_model(f"{written(tmp_path / 'a', NET.replace('width: int = 8', 'width: int = 9'))}:Net")
    assert first == again and first.name == again.name and hash(first) == hash(again)
    assert edited != first and edited.name != first.name and edited.class_name == first.class_name
    assert pickle.loads(pickle.dumps(first)) == first


def test_files_beside_it_are_read_too_and_go_with_it(tmp_path: Path) -> None:
    written(tmp_path, "from torch import nn\nfrom parts.layers import layer\nclass Net(nn.Module):\n"
                      "    def __init__(self):\n        super().__init__()\n        self.layer = layer()\n")
    written(tmp_path, "", "parts/__init__.py")
    written(tmp_path, "from torch import nn\nfrom . import sizes\ndef layer():\n    return nn.Linear(sizes.IN, 10)\n",
            "parts/layers.py")
    sizes = written(tmp_path, "IN = 3\n", "parts/sizes.py")
    first = read_model(f"{tmp_path / 'net.py'}:Net")
    assert [module for module, _ in first.source.files] == ["net", "parts", "parts.layers", "parts.sizes"]
    sizes.write_text("IN = 4\n")
    second = read_model(f"{tmp_path / 'net.py'}:Net")
    assert (made(first).layer.in_features, made(second).layer.in_features) == (3, 4) and first != second
    assert "parts" not in sys.modules and "net" not in sys.modules


def test_a_module_of_a_package_is_found_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    written(tmp_path, "", "mine_of_test/__init__.py")
    written(tmp_path, "from .more import nn" + NET.removeprefix("\nfrom torch import nn"), "mine_of_test/nets.py")
    written(tmp_path, "from torch import nn\n", "mine_of_test/more.py")
    written(tmp_path, "IGNORED = 1\n", "other.py")
    model = read_model("mine_of_test.nets:Net")
    assert [module for module, _ in model.source.files] == ["mine_of_test", "mine_of_test.more", "mine_of_test.nets"]
    assert "mine_of_test" not in sys.modules and made(model).layer.in_features == 784


def test_a_class_of_an_imported_module_is_its_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    spec = importlib.util.spec_from_file_location("net_of_test", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["net_of_test"] = module
    spec.loader.exec_module(module)
    try:
        assert read_model(module.Net) == read_model(f"{path}:Net")
    finally:
        del sys.modules["net_of_test"]


CELL = """
import math
import torch
from torch import nn
import torch.nn.functional as F

SCALE = 2
unused = torch.zeros(3)

def halved(x):
    return F.relu(x) / SCALE

class Block(nn.Module):
    def forward(self, x):
        return halved(x)

class Cell(nn.Module):
    def __init__(self, width=8, classes=10):
        super().__init__()
        self.block, self.layer = Block(), nn.Linear(784, classes)

    def forward(self, pictures):
        unused = pictures.flatten(1)
        return self.layer(self.block(unused)) * math.pi
"""


def entered(text: str) -> Any:
    """A module like a notebook's: its cell is known to `linecache` alone."""
    module, name = ModuleType("__main__"), f"<cell {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    exec(compile(text, name, "exec"), vars(module))
    return module


def test_a_class_of_a_notebook_takes_along_what_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = entered(CELL)
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    text = text_of_class(notebook.Cell)
    assert "unused = torch" not in text and "SCALE = 2" in text and text.count("class Block") == 1
    model = read_model(notebook.Cell)
    assert model.source.files == ((model.source.module, text),) and list(model.settings) == ["width"]
    notebook.SCALE = 3
    assert read_model(notebook.Cell) != model
    notebook.SCALE = object()
    with pytest.raises(UserError, match="Cell uses SCALE, a object that is not in its text: make it an argument"):
        read_model(notebook.Cell)


@pytest.mark.parametrize(("text", "told"), [
    ("import nowhere_at_all\n" + NET, r"Net cannot be loaded: ModuleNotFoundError: .*nowhere_at_all.* \(net.py:1\)"),
    (NET + "\nx = 1 / 0\n", r"ZeroDivisionError: division by zero \(net.py:12\)"),
    ("class Net(:\n", r"Net cannot be loaded: SyntaxError: invalid syntax \(net.py:1\)"),
    ("class Net: pass\n", "Net is a class derived from torch.nn.Module"),
    ("class Other: pass\n", "net.py has no class Net: it has Other"),
    (NET.replace("width: int = 8", "width"), "each argument of Net has a default.* width: give it one"),
    (NET.replace("width: int", "lr: int"), "lr is a setting of every training.* an argument of Net: rename it"),
    (NET.replace("dropout: float = 0.0", "dropout: float = 0.5"), "dropout of Net is 0 by default.* 0.5"),
])
def test_a_model_that_breaks_the_contract_is_told_in_one_line(text: str, told: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=told) as caught:
        read_model(f"{path}:Net")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("reference", "told"), [
    ("nowhere.py:Net", "nowhere.py is a file.* none there"), ("no.such:Net", "there is no module no.such"),
    ("net.py", "a model is FILE.py:Class"), ("a b:Net", "a model is FILE"), ("net.py:9", "a model is FILE"),
])
def test_a_name_that_leads_nowhere_is_told(reference: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_model(reference)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in SHARED])
def test_an_argument_that_would_hide_a_trainings_setting_is_refused(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, NET.replace("width: int", f"{name}: int"))
    with pytest.raises(UserError, match=f"{name} is a setting of every training.* an argument of Net: rename it"):
        StudySpec(models=(f"{path}:Net",))


def test_an_inner_class_is_refused() -> None:
    class Inner:
        pass

    with pytest.raises(UserError, match="a model's class stands by itself.*move it to the top"):
        read_model(Inner)


def test_choices_are_known_by_their_annotation() -> None:
    text = "from __future__ import annotations\nfrom typing import Literal\nfrom torch import nn\n"
    text += "class Net(nn.Module):\n    def __init__(self, pool: Literal['max', 'mean'] = 'max'):\n        pass\n"
    model = own_model(Source("Net", "net", (("net", text),)))
    assert model.settings["pool"].choices == ("max", "mean")
    with pytest.raises(UserError, match="pool is one of max, mean.* 'men'"):
        model.settings["pool"].checked("men")


def test_equal_choices_are_one() -> None:
    text = "from typing import Literal\nfrom torch import nn\n"
    text += "class Net(nn.Module):\n    def __init__(self, depth: Literal[1, 2] = 2):\n        pass\n"
    model = own_model(Source("Net", "net", (("net", text),)))
    configs = [
        TrainingConfig(model="Net", lr=0.1, batch_size=1, source=model, model_settings={"depth": depth})
        for depth in (1, 1.0, True)
    ]
    assert len(set(configs)) == 1 and repr(dict(configs[2].model_settings)) == "{'depth': 1}"
