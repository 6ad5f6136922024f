"""What a run needs of its surroundings: processors, a short private folder, a token, limits; no Ray needed to ask."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tune_mnist.spec.errors import UserError, require

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""How long the path of a Unix socket may be."""
SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest path of a socket that Ray makes in the private folder."""
SHORT_FOLDERS = ("/tmp", "/var/tmp")
LEAST_FILES, LEAST_THREADS = 256, 500
"""Open files, and processes and threads, that a run of a few trials takes."""


def usable_processors() -> int:
    """How many processors this process may use: by affinity, cgroup quota, LOKY_MAX_CPU_COUNT and Slurm's share."""
    from joblib import cpu_count  # which takes a moment to import

    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(int(cpu_count()), int(slurm)) if slurm.isdecimal() and int(slurm) > 0 else int(cpu_count())


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
            return _own(Path(base) / name)
    longest = SOCKET_BYTES - len(f"/{name}/{SOCKET}")
    raise UserError(f"TMPDIR {temporary} is too long for Ray's sockets: set it to a folder of {longest} bytes or less")


def _holds_sockets(folder: Path) -> bool:
    """Whether the paths of Ray's sockets in `folder` are text and short enough."""
    try:
        return len(str(folder / SOCKET).encode()) <= SOCKET_BYTES
    except UnicodeEncodeError:
        return False


def _own(folder: Path) -> Path:
    """Make `folder`, if need be, this user's own and closed to others."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode):
            folder.chmod(0o700)
            return folder
    except OSError as error:
        raise UserError(f"cannot make {folder} ({error.strerror}): set TMPDIR to a folder of your own") from None
    raise UserError(f"{folder} is not a folder of this user's own: set TMPDIR to one")


def give_home() -> None:
    """Let HOME name a private folder if this user has no home at all: Ray cannot even be imported without one."""
    if os.path.expanduser("~") == "~":
        home = private_folder() / "home"
        home.mkdir(exist_ok=True)
        os.environ["HOME"] = str(home)


def token_file() -> Path:
    """Where Ray's token is, or is to be: as the environment says, in the home, or, where that cannot be, beside Ray."""
    if given := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return Path(given)
    home = os.environ.get("HOME")  # what Ray goes by, whatever the user's entry in passwd says
    path = Path(home or ".", ".ray", "auth_token")
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    mine = os.access(there, os.W_OK) and (there != path or path.stat().st_uid == os.getuid())
    return path if home and mine else private_folder() / "auth_token"


def make_token() -> None:
    """Make Ray's token file, readable by its owner alone from the first moment, or make the one there so.

    Ray itself would create it readable by all. A token given in the environment stays as it is. Where the home cannot
    hold one, RAY_AUTH_TOKEN_PATH is set to where it is.

    Raises:
        UserError: it can be kept nowhere.
    """
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    path = token_file()
    try:
        _make_token(path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): set RAY_AUTH_TOKEN_PATH to a file of yours") from None
    if path.parent.name != ".ray":
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)


def _make_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        descriptor, made = tempfile.mkstemp(dir=path.parent)  # of mode 0600
        with open(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another run was faster
            os.link(made, path)
        os.unlink(made)
    if stat.S_IMODE(path.stat().st_mode) != 0o600:
        path.chmod(0o600)


@contextlib.contextmanager
def raised_limits() -> Iterator[None]:
    """Let this process, and what it starts in the block, have as many open files and threads as it may.

    Raises:
        UserError: that is too few for Ray, which would hang.
    """
    import resource

    before = {}
    for kind, least, what, flag in (
        (resource.RLIMIT_NOFILE, LEAST_FILES, "open files", "n"),
        (resource.RLIMIT_NPROC, LEAST_THREADS, "processes and threads", "u"),
    ):
        soft, hard = before[kind] = resource.getrlimit(kind)
        most = float("inf") if hard == resource.RLIM_INFINITY else hard
        require(most >= least, f"at least {least} {what} are allowed", most, f"raise the limit (ulimit -{flag})")
        if soft != hard:
            resource.setrlimit(kind, (hard, hard))
    try:
        yield
    finally:
        for kind, limits in before.items():
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, limits)
