"""Who may use a Ray: its token, its private folder, and whether a cluster asks for a token. No Ray needed to ask."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import tempfile
import urllib.request
from pathlib import Path

from tune_mnist.spec.errors import UserError
from tune_mnist.study.files import writing

DASHBOARD_SECONDS = 10.0


def private_folder() -> str:
    """A folder for Ray's sessions that only this user can enter; short, as socket paths must be."""
    folder = Path(tempfile.gettempdir()) / f"tune_mnist-{os.getuid()}"
    with writing(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{folder} is not a folder of this user's own: set TMPDIR to one")
    folder.chmod(0o700)
    return str(folder / "ray")  # which Ray itself makes open to all


def token_path() -> Path:
    """The file that Ray takes its token from, unless RAY_AUTH_TOKEN holds it; it need not exist."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def make_token() -> None:
    """Make Ray's token file, readable by its owner alone from the first moment, or make the one there so.

    Ray itself would create it readable by all. A token given in the environment stays as it is.
    """
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    path = token_path()
    with writing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            descriptor, new = tempfile.mkstemp(dir=path.parent)  # of mode 0600
            with open(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
            with contextlib.suppress(FileExistsError):  # another run was faster
                os.link(new, path)
            os.unlink(new)
        path.chmod(0o600)


def authentication_mode(dashboard_url: str) -> str | None:
    """A cluster's mode ("token", "disabled", …), as its dashboard tells everyone; None if no dashboard answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{dashboard_url}/api/authentication_mode", timeout=DASHBOARD_SECONDS) as answer:
            return str(json.load(answer)["authentication_mode"])
    except (OSError, ValueError, KeyError):
        return None
