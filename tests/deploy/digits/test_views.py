"""Tests of how a picture becomes the network's view: MNIST's own form, whatever the paper, the ink and the file."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.slices import mnist
from tune_mnist.deploy.digits.marks import find_marks
from tune_mnist.deploy.digits.paper import Array, paper_shade
from tune_mnist.deploy.digits.pictures import grey_levels, open_picture, read_file
from tune_mnist.deploy.digits.strokes import find_ink
from tune_mnist.deploy.digits.views import stroke_width
from tune_mnist.spec.errors import UserError

SCRIPT = Path(__file__).parents[3] / "experiments" / "rendered_digits.py"


def ink(index: int = 0, side: int = 200) -> Array:
    """One of MNIST's test digits, ink 1 on 0, enlarged to `side` pixels."""
    picture = Image.fromarray(mnist().test_images[index])
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC), np.float32) / np.float32(255)


def encoded(picture: Image.Image, name: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def to_digit(levels: Array) -> np.ndarray:
    """The network's view of the picture's only mark."""
    found = find_ink(levels)
    assert found is not None
    ((mark,),) = find_marks(found)
    return mark.view


def read(data: bytes) -> np.ndarray:
    return to_digit(grey_levels(open_picture(data).pixels))


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two views, one of which may lie a pixel beside the other, as centring rounds."""
    moved = (np.roll(a, (down, across), (0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1))
    return max(float(np.corrcoef(one.ravel(), b.ravel())[0, 1]) for one in moved)


@pytest.mark.parametrize("index", range(20))
def test_the_view_is_as_mnist_was_made(index: int) -> None:
    original = mnist().test_images[index]
    view = to_digit(ink(index))
    assert view.shape == (28, 28) and view.dtype == np.uint8 and view.max() == 255
    rows, columns = np.flatnonzero(view.any(1)), np.flatnonzero(view.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
    for axis in (0, 1):
        mass = view.sum(1 - axis, dtype=float)
        assert mass @ np.arange(28) / mass.sum() == pytest.approx(14, abs=0.51)
    assert alike(view, original) > 0.85


@pytest.mark.parametrize(("paper", "pen"), [(1, 0), (0, 1), (0.9, 0.6), (0.3, 0.5), (0.55, 0.45)])
def test_the_colours_do_not_matter(paper: float, pen: float) -> None:
    drawn = ink()
    assert alike(to_digit(paper + (pen - paper) * drawn), to_digit(1 - drawn)) > 0.99


def test_neither_size_nor_place_matters() -> None:
    wide = np.ones((300, 700), np.float32)
    wide[:200, :200] -= ink()
    assert alike(to_digit(wide), to_digit(1 - ink())) > 0.99
    assert alike(to_digit(1 - ink(side=1600)), to_digit(1 - ink())) > 0.97
    assert alike(to_digit(1 - ink(side=40)), to_digit(1 - ink())) > 0.9


def test_uneven_paper_dirt_and_noise_are_no_ink() -> None:
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.linspace(-1, 1, 200), np.linspace(-1, 1, 200))
    light = (0.7 + 0.15 * across - 0.1 * down**2).astype(np.float32)
    np.testing.assert_allclose(paper_shade(light * (1 - ink())), light, atol=0.03)
    dirty = light * (1 - 0.7 * ink()) + rng.normal(0, 0.01, light.shape).astype(np.float32)
    dirty[3:6, 3:6] = 0
    assert alike(to_digit(dirty), to_digit(1 - ink())) > 0.97


def test_thin_strokes_are_thickened_to_mnists() -> None:
    paper = np.ones((600, 600), np.float32)
    paper[100:500, 300:303] = 0
    paper[100:103, 150:303] = 0
    view = to_digit(paper)
    assert view.max() == 255 and 1.4 < stroke_width(view.astype(np.float32)) < 3


@pytest.mark.parametrize("levels", [
    np.ones((50, 50)), np.zeros((50, 50)), np.full((1, 1), 0.5), np.random.default_rng(0).normal(0.5, 0.05, (90, 90)),
    np.linspace(0.2, 0.8, 80)[None, :] * np.ones((60, 1)), 0.5 + 0.01 * ink(),
], ids=["white", "black", "one pixel", "noise", "gradient", "too faint"])
def test_a_picture_without_ink_has_none(levels: np.ndarray) -> None:
    assert find_ink(levels.astype(np.float32)) is None


def test_files_of_every_mode_show_the_same() -> None:
    grey = Image.fromarray(np.rint(255 * (1 - ink())).astype(np.uint8))
    deep = np.rint(65535 * (1 - ink())).astype(np.uint16)
    clear = Image.new("RGBA", grey.size, (250, 250, 250, 0))
    clear.putalpha(Image.fromarray(np.rint(255 * ink()).astype(np.uint8)))
    files = {
        "grey": encoded(grey),
        "colour": encoded(grey.convert("RGB")),
        "palette": encoded(grey.convert("P"), "GIF"),
        "one bit": encoded(grey.convert("1", dither=Image.Dither.NONE)),
        "white ink on nothing": encoded(clear),
        "grey and alpha": encoded(grey.convert("LA")),
        "16 bits": encoded(Image.fromarray(deep)),
        "12 of 16 bits": encoded(Image.fromarray(deep // 16)),
        "float": encoded(Image.fromarray(1000 * (1 - ink())), "TIFF"),
        "CMYK": encoded(grey.convert("CMYK"), "JPEG"),
        "PPM": encoded(grey, "PPM"),
        "BMP": encoded(grey, "BMP"),
        "WebP": encoded(grey, "WEBP", quality=50),
    }
    expected = read(files["grey"])
    for name, data in files.items():
        assert alike(read(data), expected) > 0.93, name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_tag_turns_the_picture(orientation: int) -> None:
    grey = Image.fromarray(np.rint(255 * (1 - ink())).astype(np.uint8))
    undo: dict[int, tuple[Image.Transpose, ...]] = {
        2: (Image.Transpose.FLIP_LEFT_RIGHT,), 3: (Image.Transpose.ROTATE_180,), 4: (Image.Transpose.FLIP_TOP_BOTTOM,),
        5: (Image.Transpose.TRANSPOSE,), 6: (Image.Transpose.ROTATE_90,), 7: (Image.Transpose.TRANSVERSE,),
        8: (Image.Transpose.ROTATE_270,),
    }
    stored = grey
    for step in undo.get(orientation, ()):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert alike(read(encoded(stored, "PNG", exif=exif)), read(encoded(grey))) > 0.99


def test_what_is_no_picture_is_told_and_runs_nothing(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(np.rint(255 * (1 - ink())).astype(np.uint8)))
    with pytest.raises(UserError, match="a picture file has bytes"):
        open_picture(b"")
    for data in (b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", whole[8:]):
        with pytest.raises(UserError, match="not a picture: give one of PNG, JPEG"):
            open_picture(data)
    for size in range(60, len(whole) - 16, len(whole) // 20):
        with pytest.raises(UserError, match="a damaged picture"):
            open_picture(whole[:size])
    with pytest.raises(UserError, match="width × height <= 39999.*got 200 × 200: shrink"):
        open_picture(whole, most_pixels=39_999)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_file(tmp_path / "nowhere")


def test_bent_files_are_answered_or_told_in_one_line() -> None:
    rng = np.random.default_rng(0)
    grey = Image.fromarray(np.rint(255 * (1 - ink(side=60))).astype(np.uint8))
    for name in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        whole = np.frombuffer(encoded(grey, name), np.uint8)
        for _ in range(25):
            bent = whole.copy()
            bent[rng.integers(len(bent), size=4)] = rng.integers(256, size=4)
            try:
                levels = grey_levels(open_picture(bent.tobytes()).pixels)
            except UserError as error:
                assert "\n" not in str(error)
            else:
                assert levels.ndim == 2 and 0 <= levels.min() <= levels.max() <= 1
                find_ink(levels)


@pytest.mark.slow
def test_digits_of_many_kinds_and_fonts_are_read_right() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--digits", "100", "--per-font-digit", "1", "--json"], capture_output=True, text=True
    )
    shares = json.loads(done.stdout)
    assert shares["mnist"] >= 0.98 and shares["fonts"] >= 0.9 and shares["families"] >= 5
