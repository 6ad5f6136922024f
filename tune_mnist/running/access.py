"""Who may use a Ray: its token, its private folder, and whether a cluster asks for a token. No Ray needed to ask."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import sys
import tempfile
import urllib.request
from pathlib import Path

from tune_mnist.shell.private import own_folder
from tune_mnist.spec.errors import UserError
from tune_mnist.study.files import writing

DASHBOARD_SECONDS = 10.0
SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""How long the path of a Unix socket may be."""
SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/dash_TaskEventsHead"
"""The longest path of a socket that Ray makes in the private folder."""
SHORT_FOLDERS = ("/tmp", "/var/tmp")
TOKEN = "token"
"""The token's file in the private folder."""


def private_folder() -> Path:
    """A folder that only this user can enter, made if need be, in which the paths of Ray's sockets are short enough.

    It lies in the folder of temporary files ($TMPDIR), or in /tmp where that has too long a name.

    Raises:
        UserError: no such folder can be made, or it is another user's.
    """
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:
        raise UserError("no folder for temporary files can be written to: set TMPDIR to one that can") from None
    name = f"tune_mnist-{os.getuid()}"
    for base in dict.fromkeys([temporary, *SHORT_FOLDERS]):
        if _holds_sockets(Path(base) / name) and os.access(base, os.W_OK):
            return own_folder(Path(base) / name)
    longest = SOCKET_BYTES - len(f"/{name}/{SOCKET}")
    raise UserError(f"TMPDIR {temporary} is too long for Ray's sockets: set it to a folder of {longest} bytes or less")


def _holds_sockets(folder: Path) -> bool:
    """Whether the paths of Ray's sockets in `folder` are text and short enough."""
    try:
        return len(str(folder / SOCKET).encode()) <= SOCKET_BYTES
    except UnicodeEncodeError:
        return False


def token_path() -> Path:
    """Where Ray's token is, or is to be: as the environment says, in the home, or, where that cannot be, beside Ray."""
    if given := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return Path(given)
    home = os.environ.get("HOME")  # what Ray goes by, whatever the user's entry in passwd says
    path = Path(home or ".", ".ray", "auth_token")
    there = next(parent for parent in (path, *path.parents) if os.path.exists(parent))
    mine = os.access(there, os.W_OK) and (there != path or path.stat().st_uid == os.getuid())
    return path if home and mine else private_folder() / TOKEN


def make_token() -> None:
    """Make Ray's token file, readable by its owner alone from the first moment, or make the one there so.

    Ray itself would create it readable by all. A token given in the environment stays as it is. Where the home cannot
    hold one, RAY_AUTH_TOKEN_PATH is set to where it is.
    """
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    try:
        _make_token(token_path())
    except OSError:  # such as a read-only file system's, which access rights do not show
        with writing(private_folder() / TOKEN):
            _make_token(private_folder() / TOKEN)


def _make_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        descriptor, new = tempfile.mkstemp(dir=path.parent)  # of mode 0600
        with open(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another run was faster
            os.link(new, path)
        os.unlink(new)
    if stat.S_IMODE(path.stat().st_mode) != 0o600:
        path.chmod(0o600)
    if path.name == TOKEN:
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)


def authentication_mode(dashboard_url: str) -> str | None:
    """A cluster's mode ("token", "disabled", …), as its dashboard tells everyone; None if no dashboard answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{dashboard_url}/api/authentication_mode", timeout=DASHBOARD_SECONDS) as answer:
            return str(json.load(answer)["authentication_mode"])
    except (OSError, ValueError, KeyError):
        return None
