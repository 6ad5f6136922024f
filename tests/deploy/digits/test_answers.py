"""Tests of predict: pictures of every kind to digits, by the model that comes with the package."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.photos import ROW_TOP, photos, row
from support.pictures import digits, saved
from tune_mnist.deploy.digits.answer_figure import draw_answers
from tune_mnist.deploy.digits.answers import _file, answer_sources, predict_files
from tune_mnist.deploy.trained import PRETRAINED, load_trained
from tune_mnist.predict import main

COUNT = 60


@pytest.mark.parametrize("kind", ["rotated", "16-bit", "transparent", "palette", "off-centre"])
def test_digits_as_real_files_are_read(kind: str, tmp_path: Path) -> None:
    labelled = [(saved(picture, kind, tmp_path / f"{n}"), label) for n, (picture, label) in enumerate(digits(COUNT))]
    answers = predict_files([path for path, _ in labelled])
    right = sum(answer.digit == label for answer, (_, label) in zip(answers, labelled, strict=True))
    assert right >= 0.95 * COUNT, f"{right} of {COUNT}"
    for digit in (digit for answer in answers for digit in answer.digits):
        assert sum(digit.probabilities) == pytest.approx(1, abs=1e-5)
        assert digit.view.shape == (28, 28)


def test_what_is_no_digit_is_told_in_a_line_and_the_rest_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (picture, label), = digits(1)
    good = saved(picture, "16-bit", tmp_path / "a-good")
    (tmp_path / "b-empty.png").write_bytes(b"")
    (tmp_path / "c-cut.png").write_bytes(good.read_bytes()[:-60])
    (tmp_path / "d-text.png").write_text("no picture")
    Image.new("L", (50, 50), 255).save(tmp_path / "e-blank.png")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    (tmp_path / "f-bomb.png").write_bytes(bomb.getvalue())
    assert main([str(tmp_path), str(tmp_path / "nowhere.png"), "--json"]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0]["digit"] == label and {"probability", "runner_up"} <= told[0].keys()
    assert len(told) == 7 and all(set(line) == {"path", "error"} and "\n" not in line["error"] for line in told[1:])


def saved_row(path: Path, count: int = 3) -> list[int]:
    """Write a photo of some digits and return these."""
    levels, labels = row(np.random.default_rng(1), count)
    Image.fromarray(np.rint(255 * levels.clip(0, 1)).astype(np.uint8)).resize((1500, 2000)).save(path)
    return labels


def test_several_digits_are_listed_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = saved_row(tmp_path / "row.png")
    one = saved(digits(1)[0][0], "16-bit", tmp_path / "single")
    assert main([str(tmp_path / "row.png"), str(one), "--json"]) == 0
    several, single = map(json.loads, capsys.readouterr().out.splitlines())
    assert [digit["digit"] for digit in several["digits"]] == labels and "digit" not in several
    places = [digit["box"] for digit in several["digits"]]
    for number, (left, top, right, bottom) in enumerate(places):
        assert 500 * number <= left < right <= 500 * (number + 1)
        assert 5 * ROW_TOP <= top < bottom <= 5 * ROW_TOP + 500
    assert single["digits"] == [{key: value for key, value in single.items() if key not in ("path", "digits")}]
    assert main([str(tmp_path / "row.png"), "--figure", str(tmp_path / "seen.png")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'row.png'}: {' '.join(map(str, labels))} (least sure: ")


def test_several_digits_are_an_error_where_one_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved_row(tmp_path / "row.png")
    one = saved(digits(1)[0][0], "16-bit", tmp_path / "single")
    assert main([str(tmp_path / "row.png"), str(one), "--single"]) == 1
    said = capsys.readouterr()
    assert said.out.count("\n") == 1 and "row.png: 3 digits found: give a picture of one" in said.err


def test_the_figure_marks_each_digit(tmp_path: Path) -> None:
    saved_row(tmp_path / "row.png")
    source = _file(tmp_path / "row.png")
    figure = draw_answers([(source, answer_sources([source], load_trained(PRETRAINED))[0])])
    lefts = [patch.get_extents().x0 for patch in figure.axes[0].patches]
    left, right = figure.axes[0].transData.transform([(0, 0), (1500, 0)])[:, 0]
    lefts = [1500 * (place - left) / (right - left) for place in lefts]
    assert len(lefts) == 3 and all(500 * n <= left < 500 * (n + 1) for n, left in enumerate(lefts))
    assert np.asarray(figure.axes[1].images[0].get_array()).shape == (28, 84)


@pytest.mark.parametrize("kind", ["dithered gif", "dithered bits", "sixteen colours"])
def test_dithered_pictures_are_read(kind: str, tmp_path: Path) -> None:
    labels = []
    for number, (levels, label) in enumerate(photos("light from a side", 8, seed=4)):
        picture = Image.fromarray(np.rint(255 * levels).astype(np.uint8))
        if kind == "dithered gif":
            picture.convert("RGB").convert("P").save(tmp_path / f"{number}.gif")
        elif kind == "dithered bits":
            picture.convert("1").save(tmp_path / f"{number}.png")
        else:
            picture.convert("RGB").quantize(16).save(tmp_path / f"{number}.png")
        labels.append(label)
    answers = predict_files(sorted(tmp_path.iterdir()))
    assert sum(answer.digit == label for answer, label in zip(answers, labels, strict=True)) >= 7


@pytest.mark.parametrize(("name", "data", "told"), [
    ("a.HEIC", b"\0\0\0\x18ftypheic" + bytes(500), "a HEIC picture, which is not read: save it as JPEG"),
    ("a.jpg", b"\0\0\0\x18ftypmif1" + bytes(500), "a HEIC picture, which is not read: save it as JPEG"),
    ("a.png", b"%PDF-1.7\n", "a PDF, which is not read: save its page as PNG"),
])
def test_what_is_not_read_is_named_with_a_way_out(
    name: str, data: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and told in said.err


def test_light_colours_on_white_are_read(tmp_path: Path) -> None:
    labels = []
    for number, (levels, label) in enumerate(photos("plain", 8, seed=6)):
        ink = (1 - levels.clip(0.2, 0.9)[..., None] / 0.9) / 0.78
        colour = 240 + (np.array([248, 240, 60]) - 240) * ink
        Image.fromarray(colour.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
        labels.append(label)
    answers = predict_files(sorted(tmp_path.iterdir()))
    assert sum(answer.digit == label for answer, label in zip(answers, labels, strict=True)) >= 7


def test_stdin_and_a_figure(tmp_path: Path) -> None:
    (picture, label), = digits(1)
    path = saved(picture, "palette", tmp_path / "one")
    command = [sys.executable, "-m", "tune_mnist.predict", "-", "--figure", "seen.png"]
    done = subprocess.run(command, input=path.read_bytes(), cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith(f"-: {label} (") and done.stdout.count(b"\n") == 1
    with Image.open(tmp_path / "seen.png") as figure:
        assert figure.width > 300


@pytest.mark.parametrize("kind", ["16-bit", "transparent", "palette", "off-centre"])
def test_the_figure_shows_the_picture_itself(kind: str, tmp_path: Path) -> None:
    source = _file(saved(digits(1)[0][0], kind, tmp_path / "one"))
    shown = draw_answers([(source, answer_sources([source], load_trained(PRETRAINED))[0])]).axes[0].images[0]
    seen = np.asarray(shown.to_rgba(np.asarray(shown.get_array())))[..., :3]
    assert seen.min() < 0.3 * seen.max()


@pytest.mark.parametrize(("words", "told"), {
    (): "a picture is named", ("a.png", "--modle", "x"): "unknown flag `--modle`", ("a.png", "--model", "none"): "none",
}.items())
def test_bad_input_is_one_line(
    words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1 and told in said.err


def test_names_that_a_terminal_or_a_font_cannot_show_end_nothing(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, as of a photo unzipped from Windows, other scripts, and what looks like TeX."""
    ((picture, label),) = digits(1)
    names = ["z\udce9ro.png", "\N{CJK UNIFIED IDEOGRAPH-65E5}.png", "a$b^{$.png", "drei\xdfig [x].png"]
    for name in names:
        picture.save(tmp_path / name)
    command = [sys.executable, "-m", "tune_mnist.predict", *names, "--figure", "seen.png"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, env=environment)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    read = [line.partition(b": ") for line in done.stdout.splitlines()]
    assert [name for name, _, _ in read] == [name.encode("ascii", "backslashreplace") for name in names]
    assert all(answer.startswith(str(label).encode()) for _, _, answer in read)
    assert (tmp_path / "seen.png").exists()
