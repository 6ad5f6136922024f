"""Files of every kind that show MNIST's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from support.slices import mnist


def digits(count: int) -> list[tuple[Image.Image, int]]:
    """MNIST's first test digits, light on black, enlarged."""
    dataset = mnist()
    return [
        (Image.fromarray(picture).resize((84, 84), Image.Resampling.BICUBIC), int(label))
        for picture, label in zip(dataset.test_images[:count], dataset.test_labels[:count], strict=True)
    ]


def saved(picture: Image.Image, kind: str, path: Path) -> Path:
    """The picture as a file of one of the kinds that users have."""
    dark = ImageOps.invert(picture)
    if kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees for the eye
        dark.rotate(90, expand=True).convert("RGB").save(path := path.with_suffix(".jpg"), exif=exif, quality=90)
    elif kind == "16-bit":
        wide = Image.fromarray(np.asarray(dark).astype(np.uint16) * 257)
        wide.save(path := path.with_suffix(".png"))
    elif kind == "transparent":
        clear = Image.new("RGBA", picture.size, (20, 20, 120, 0))
        clear.putalpha(picture)
        clear.save(path := path.with_suffix(".png"))
    elif kind == "palette":
        ImageOps.colorize(picture, "#ffeecc", "#662200").quantize(32).save(path := path.with_suffix(".gif"))
    else:
        wide = Image.new("L", (400, 260), 0)
        wide.paste(picture, (20, 150))
        wide.save(path := path.with_suffix(".webp"), lossless=True)
    return path
