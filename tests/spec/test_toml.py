"""TOML files as editors write them: read, or refused with what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_mnist.grid import GridArgs, from_toml
from tune_mnist.shell.cli import parse
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.toml import home_expanded, read_spec

TEXT = 'models = ["CNN"]\nlr = [1e-3]\n'


@pytest.mark.parametrize("content", [TEXT.encode("utf-8-sig"), TEXT.replace("\n", "\r\n").encode(), TEXT.encode()])
def test_a_mark_and_windows_line_ends_are_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_bytes(content)
    assert read_spec(tmp_path / "spec.toml") == StudySpec(models=("CNN",), lr=(1e-3,))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (TEXT.encode("utf-16"), "spec.toml is UTF-16 text: save it as UTF-8"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "is UTF-16 text"),
        (TEXT.encode() + b"# \xe9", "is not UTF-8 text"),
        ("lr = [1e-3]\nmodels = [“CNN”]\n".encode(), 'has the quote “ in line 2: write plain ones, "'),
        ("models = [‘CNN’]  # a “word”\n".encode(), "has the quote ‘ in line 1"),
        (b"lr = 1e-3\n", r"`lr`: Input should be a list, but got 0\.001: write \[0\.001\]"),
        (b'models = "CNN"\n', r"""but got 'CNN': write \["CNN"\]"""),
        (b'lr = ["1e-3"]\n', "`lr.0`: .* but got '1e-3': write 1e-3 without quotes"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_to_write(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_spec(tmp_path / "spec.toml")


def test_typographic_quotes_in_a_comment_or_a_text_are_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(f'# “a comment”\ndata = "a “folder”"\n{TEXT}', encoding="utf-8")
    assert read_spec(tmp_path / "spec.toml").data == Path("a “folder”")


def test_a_home_is_meant_by_a_tilde_in_files_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "SPEC.TOML").write_text(TEXT + 'data = "~/mnist"\n')
    args = parse(GridArgs, ["~/SPEC.TOML", "--storage=~/studies"], prog="", description="", from_toml=from_toml)
    assert args.spec.data == tmp_path / "mnist" and args.storage == tmp_path / "studies"
    args = parse(GridArgs, ["--data", "~"], prog="", description="", from_toml=from_toml)
    assert args.spec.data == tmp_path and args.storage == Path("ray_results")
    assert home_expanded((Path("~/a"), Path("b~"), "~")) == (tmp_path / "a", Path("b~"), "~")


def test_a_home_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="~nobody-of-this-name/x: no such home: set HOME"):
        home_expanded(Path("~nobody-of-this-name/x"))
