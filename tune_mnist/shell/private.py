"""Folders that only this user can enter, in the places where temporary files go."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tune_mnist.spec.errors import UserError


def own_folder(folder: Path) -> Path:
    """Make `folder`, if need be, this user's own and closed to others.

    Raises:
        UserError: it cannot be made, or is another user's, or no folder.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode):
            folder.chmod(0o700)
            return folder
    except OSError as error:
        raise UserError(f"cannot make {folder} ({error.strerror}): set TMPDIR to a folder of your own") from None
    raise UserError(f"{folder} is not a folder of this user's own: set TMPDIR to one")
