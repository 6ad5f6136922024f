"""How often predict is right on digits drawn as real picture files of every kind: MNIST's test digits, and fonts."""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from tune_mnist.deploy.digits.answers import Answer, predict_files
from tune_mnist.deploy.trained import PRETRAINED, load_trained
from tune_mnist.training.dataset import load_dataset

SIDES = (20, 600)
"""The shorter side of a picture, pixels, uniform on a logarithmic scale; the longer is up to 1.5 times it."""
SMALLEST_TILE = 20
"""A digit's 28 × 28 frame takes 50% to 100% of the shorter side, but at least this many pixels."""
LEAST_CONTRAST = 0.25
"""Of ink against paper in luminance, on a scale of black to white; either may be the lighter."""
UNEVEN = 0.15
"""Half of the JPEG, WebP and 16-bit files have paper whose light changes by up to this share, and noise of 0.01."""
KINDS = ("PNG", "JPEG", "WebP", "RGBA", "palette", "16-bit")
NOT_TEXT = ("cmsy", "cmex", "cmmi", "STIXNonUni", "STIXSiz", "LastResort")  # no digits in them


@dataclass(frozen=True)
class Drawing:
    """A picture file and what it shows: the digit, whose hand or font, and how it was written."""

    path: Path
    digit: int
    source: str
    kind: str
    side: int
    rotated: bool


def mnist_drawings(count: int, folder: Path, rng: np.random.Generator) -> Iterator[Drawing]:
    """`count` of MNIST's test digits, drawn without replacement, each as a file of the next kind."""
    dataset = load_dataset()
    for number, index in enumerate(rng.permutation(len(dataset.test_labels))[:count]):
        frame = Image.fromarray(dataset.test_images[index])
        label = int(dataset.test_labels[index])
        yield draw(frame, label, "MNIST", KINDS[number % len(KINDS)], folder / f"mnist-{index}", rng)


def font_drawings(times: int, folder: Path, rng: np.random.Generator) -> Iterator[Drawing]:
    """Every digit in every text font there is, so many `times` each."""
    for name, path in text_fonts().items():
        for number in range(10 * times):
            digit = number % 10
            frame = Image.new("L", (280, 280))
            font = ImageFont.truetype(path, 230)
            ImageDraw.Draw(frame).text((140, 140), str(digit), fill=255, font=font, anchor="mm")
            kind = KINDS[int(rng.integers(len(KINDS)))]
            yield draw(frame, digit, name, kind, folder / f"font-{name}-{number}".replace(" ", "-"), rng)


def text_fonts() -> dict[str, str]:
    """The file of each font family with digits, matplotlib's own among them; its regular cut if there is one."""
    own = [entry.fname for entry in font_manager.fontManager.ttflist]
    fonts: dict[str, str] = {}
    for path in sorted({*font_manager.findSystemFonts(), *own}, key=lambda path: (len(Path(path).stem), path)):
        font = FT2Font(path)
        if set(map(ord, "0123456789")) <= set(font.get_charmap()) and not Path(path).stem.startswith(NOT_TEXT):
            fonts.setdefault(font.family_name, path)
    return fonts


def draw(frame: Image.Image, digit: int, source: str, kind: str, stem: Path, rng: np.random.Generator) -> Drawing:
    """Draw a digit's frame, of light ink on black, into a new file."""
    short = round(float(np.exp(rng.uniform(*np.log(SIDES)))))
    size = [short, round(short * rng.uniform(1, 1.5))]
    rng.shuffle(size)
    tile = min(short, max(SMALLEST_TILE, round(short * rng.uniform(0.5, 1))))
    corner = tuple(int(rng.integers(n - tile + 1)) for n in size)
    canvas = Image.new("L", (size[0], size[1]))
    canvas.paste(frame.resize((tile, tile), Image.Resampling.BICUBIC), corner)
    orientation = int(rng.integers(2, 9)) if kind in ("PNG", "JPEG", "WebP") and rng.random() < 0.5 else 1
    coverage = np.asarray(canvas, np.float64)[..., None] / 255
    data, suffix = encoded(coverage, kind, orientation, rng)
    path = stem.with_suffix(suffix)
    path.write_bytes(data)
    return Drawing(path, digit, source, kind, short, orientation > 1)


def encoded(coverage: np.ndarray, kind: str, orientation: int, rng: np.random.Generator) -> tuple[bytes, str]:
    """A picture file, and its suffix, of ink where `coverage` (h, w, 1) is 1 on paper where it is 0."""
    ink, paper = colours(rng)
    colour = paper + (ink - paper) * coverage
    if kind in ("JPEG", "WebP", "16-bit") and rng.random() < 0.5:
        slope = np.linspace(*rng.uniform(1 - UNEVEN, 1, 2), coverage.shape[1])[None, :, None]
        colour = (colour * slope + rng.normal(0, 0.01, colour.shape)).clip(0, 1)
    picture = Image.fromarray(np.rint(255 * colour).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = turned_back(picture, orientation)
    quality = int(rng.integers(30, 96))
    match kind:
        case "JPEG":
            return saved(picture, "JPEG", quality=quality, exif=exif), ".jpg"
        case "WebP":
            return saved(picture, "WEBP", quality=quality, exif=exif), ".webp"
        case "RGBA":  # ink on a transparent ground
            flat = np.broadcast_to(ink, colour.shape)
            return saved(Image.fromarray(np.rint(255 * np.dstack([flat, coverage])).astype(np.uint8)), "PNG"), ".png"
        case "palette":
            paletted = picture.quantize(int(rng.integers(4, 65)))
            return (saved(paletted, "GIF"), ".gif") if rng.random() < 0.5 else (saved(paletted, "PNG"), ".png")
        case "16-bit":
            levels = colour @ [0.299, 0.587, 0.114]
            return saved(Image.fromarray(np.rint(65535 * levels).astype(np.uint16)), "PNG"), ".png"
    return saved(picture, "PNG", exif=exif), ".png"


def colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ink and paper, (3,) each in 0…1, that differ by `LEAST_CONTRAST` in luminance."""
    while True:
        ink, paper = rng.random((2, 3))
        if abs((ink - paper) @ [0.299, 0.587, 0.114]) >= LEAST_CONTRAST:
            return ink, paper


def turned_back(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture as a camera that writes this orientation tag would store it."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return picture.transpose(undo[orientation]) if orientation in undo else picture


def saved(picture: Image.Image, name: str, **options: object) -> bytes:
    """The picture as a file of Pillow's format `name`."""
    file = io.BytesIO()
    picture.save(file, format=name, **options)
    return file.getvalue()


def table(drawings: Sequence[Drawing], answers: Sequence[Answer]) -> pd.DataFrame:
    """One row per drawing: what it is, and whether the answer was right."""
    rows = [vars(drawing) | {"answer": answer.digit, "error": answer.error}
            for drawing, answer in zip(drawings, answers, strict=True)]
    frame = pd.DataFrame(rows)
    frame["right"] = frame["answer"] == frame["digit"]
    sides = pd.cut(frame["side"], [0, 28, 60, 200, 1000], labels=["20-28", "29-60", "61-200", "201-600"])
    return frame.assign(pixels=sides.astype(str), upright=frame["rotated"].map({True: "by EXIF", False: "yes"}))


def counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Right answers of all, by kind, size, orientation and source."""
    groups = [frame.groupby(column)["right"].agg(right="sum", of="count")
              for column in ("kind", "pixels", "upright", "source") if frame[column].nunique() > 1]
    total = pd.DataFrame({"right": [frame["right"].sum()], "of": [len(frame)]}, index=["all"])
    summed = pd.concat([*groups, total])
    return summed.assign(share=summed["right"] / summed["of"])


def main() -> None:
    """Draw, predict and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, default=1000, help="MNIST test digits to draw")
    parser.add_argument("--per-font-digit", type=int, default=3, help="how often each digit of each font is drawn")
    parser.add_argument("--model", type=Path, default=PRETRAINED, help="folder of a trained model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder to keep the files of wrong answers in")
    parser.add_argument("--json", action="store_true", help="print the shares as one JSON object")
    args = parser.parse_args()
    trained, shares = load_trained(args.model), {}
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(args.seed)
        sets = {
            "mnist": mnist_drawings(args.digits, Path(folder), rng),
            "fonts": font_drawings(args.per_font_digit, Path(folder), rng),
        }
        for name, drawings in sets.items():
            drawn = list(drawings)
            frame = table(drawn, predict_files([drawing.path for drawing in drawn], trained))
            shares[name] = float(frame["right"].mean())
            if not args.json:
                print(f"{name}:", counts(frame).to_string(formatters={"share": "{:.1%}".format}), "", sep="\n")
            if args.keep:
                args.keep.mkdir(parents=True, exist_ok=True)
                for row in frame[~frame["right"]].itertuples():
                    new = f"{row.digit}-as-{row.answer}-{row.path.name}"
                    (args.keep / new).write_bytes(row.path.read_bytes())
    if args.json:
        print(json.dumps(shares | {"families": len(text_fonts())}))


if __name__ == "__main__":
    main()
