"""Any picture file to upright grey pixels, and nothing but a picture file."""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tune_mnist.spec.errors import UserError, require

FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA", "PCX", "QOI",
)
"""What is read, by Pillow's names. Not EPS, which starts Ghostscript, nor what needs another program or data file."""

CONVERT_HEIC = (
    "a HEIC picture, which is not read: save it as JPEG, in the photo app or by `heif-convert IN.heic OUT.jpg`"
)
NOT_READ = {  # what people also try, by the bytes that it starts with
    b"ftyphe": CONVERT_HEIC, b"ftypmif1": CONVERT_HEIC, b"ftypmsf1": CONVERT_HEIC,
    b"%PDF": "a PDF, which is not read: save its page as PNG",
    b"<svg": "an SVG drawing, which is not read: save it as PNG",
}
NAMED_ANYWAY = {".heic", ".heif"}

MOST_BYTES = 2**27
MOST_PIXELS = 2**26
"""Of a file; a JPEG of that many is decoded at a fraction of its size."""
WORK_SIDE = 512
"""Larger pictures are reduced to a longer side of this to twice this many pixels."""
OPAQUE_CONTRAST = 0.2  # of a transparent picture's opaque pixels: above it, they are both ink and paper

Grey = NDArray[np.float32]


def read_file(path: Path) -> bytes:
    """The bytes of a regular file; `UserError` if it is no such file, unreadable, or larger than `MOST_BYTES`."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe would wait for ever
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError("not a file: name a picture file or a folder of them")
            return read_stream(file)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}: name a picture file") from None


def read_stream(stream: BinaryIO) -> bytes:
    """All of a stream's bytes; `UserError` if they are more than `MOST_BYTES`."""
    data = stream.read(MOST_BYTES + 1)
    require(len(data) <= MOST_BYTES, f"a picture file has at most {MOST_BYTES} bytes", "more", "shrink it")
    return data


def suffixes() -> set[str]:
    """The suffixes, in lower case with their dot, of files of `FORMATS`, and of pictures that are told to be none."""
    return {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS} | NAMED_ANYWAY


class Picture(NamedTuple):
    """A picture, upright and reduced, and how large it is in its file."""

    pixels: Image.Image
    """Of mode L, LA, RGB or RGBA of 8 bits, or F of grey levels in 0…1 where the file has more bits."""
    width: int
    height: int


def open_picture(data: bytes, most_pixels: int = MOST_PIXELS) -> Picture:
    """The first picture in a file's bytes, upright by its EXIF tag, reduced to at most 2 × `WORK_SIDE` pixels a side.

    `most_pixels` bounds what is decoded, which of a JPEG is a fraction.

    Raises:
        UserError: no bytes, no picture of `FORMATS`, a damaged one, or a too large one.
    """
    require(len(data) > 0, "a picture file has bytes", 0, "name a picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata; large pictures are an error here
        try:
            return _decoded(data, most_pixels)
        except UserError:
            raise
        except UnidentifiedImageError:
            raise UserError(_why_unread(data)) from None
        except Image.DecompressionBombError:
            raise UserError(_too_large("more than that", MOST_PIXELS)) from None
        # A damaged file can make a decoder raise nearly anything.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"a damaged picture ({reason}): give a whole one") from None


def grey_levels(pixels: Image.Image) -> Grey:
    """The luminance (h, w), 0 black to 1 white, of a `Picture`'s pixels; transparent parts become paper."""
    if pixels.mode == "F":
        return np.asarray(pixels, np.float32)
    if pixels.mode not in ("LA", "RGBA"):
        return np.asarray(pixels.convert("L"), np.float32) / np.float32(255)
    levels, alpha = np.moveaxis(np.asarray(pixels.convert("LA"), np.float32) / np.float32(255), 2, 0)
    paper = _paper_behind(levels, alpha)
    return np.asarray(levels * alpha + paper * (1 - alpha), np.float32)


def colourfulness(pixels: Image.Image) -> Grey | None:
    """How far each pixel (h, w) is from grey, 0…1: it shows light colours on white; None if the picture is grey."""
    if pixels.mode != "RGB":
        return None
    return np.asarray(np.ptp(np.asarray(pixels), axis=2), np.float32) / np.float32(255)


def _why_unread(data: bytes) -> str:
    start = data[:1024].removeprefix(data[:4]) if data[4:8] == b"ftyp" else data[:1024].lstrip()
    named = next((reason for sign, reason in NOT_READ.items() if start.startswith(sign)), None)
    return named or f"not a picture: give one of {', '.join(FORMATS)}"


def _decoded(data: bytes, most_pixels: int) -> Picture:
    Image.init()
    picture: Image.Image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    whole = picture.size
    _check_size(whole, MOST_PIXELS)
    picture.draft(None, (2 * WORK_SIDE, 2 * WORK_SIDE))  # a large JPEG is decoded at a fraction of its size
    _check_size(picture.size, most_pixels)
    picture.load()
    pixels = _plain(picture)
    if (pixels.width > pixels.height) != (picture.width > picture.height):
        whole = whole[::-1]  # turned by its EXIF tag
    factor = max(pixels.size) // WORK_SIDE
    return Picture(pixels.reduce(factor) if factor > 1 else pixels, *whole)


def _check_size(size: tuple[int, int], most_pixels: int) -> None:
    if size[0] * size[1] > most_pixels:
        raise UserError(_too_large(f"{size[0]} × {size[1]}", most_pixels))


def _too_large(size: str, most_pixels: int) -> str:
    return f"`width × height <= {most_pixels}` must hold, but got {size}: shrink the picture"


def _plain(picture: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        return Image.fromarray(_deep_levels(np.asarray(upright)))
    if upright.has_transparency_data:
        return upright.convert("RGBA")
    return upright if upright.mode in ("L", "RGB") else upright.convert("L" if upright.mode == "1" else "RGB")


def _deep_levels(values: NDArray[np.generic]) -> Grey:
    """Levels in 0…1 of pixels of more than 8 bits; white is the lowest of the usual values that no pixel exceeds."""
    levels = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    brightest = float(levels.max(initial=0.0))
    whites = (1.0, 255.0) if values.dtype.kind == "f" else (255.0, 4095.0, 65535.0)
    white = next((white for white in whites if brightest <= white), brightest)
    return np.asarray((levels / white).clip(0, 1), np.float32)


def _paper_behind(levels: Grey, alpha: Grey) -> float:
    """The level to lay behind a transparent picture, so that its ink is seen."""
    opaque = levels[alpha > 0.5 * alpha.max()]
    if not len(opaque):
        return 1.0
    dark, middle, light = np.percentile(opaque, [2, 50, 98])
    if light - dark > OPAQUE_CONTRAST:
        return float(middle)
    return 1.0 if middle <= 0.5 else 0.0
