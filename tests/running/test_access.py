"""Ray's private folder and token: closed to others, and wherever the user's temporary files and home may be."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from tune_mnist.running import access
from tune_mnist.running.access import SOCKET, SOCKET_BYTES, make_token, private_folder, token_path
from tune_mnist.spec.errors import UserError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_private_folder_is_the_users_alone(short: Path, tmp_path: Path) -> None:
    folder = private_folder()
    assert folder == short / f"tune_mnist-{os.getuid()}" and mode(folder) == 0o700
    folder.chmod(0o777)
    assert private_folder() == folder and mode(folder) == 0o700
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(UserError, match=f"{folder} is not a folder of this user's own: set TMPDIR to one"):
        private_folder()
    folder.unlink()
    folder.write_text("")
    with pytest.raises(UserError, match=f"cannot make {folder} .*set TMPDIR"):
        private_folder()


@pytest.mark.parametrize("length", [49, 200])
def test_a_long_tmpdir_is_replaced_by_a_short_folder(
    length: int, bare: pytest.MonkeyPatch, short: Path, tmp_path: Path
) -> None:
    """49 bytes is what macOS has, and more than Ray's sockets leave room for."""
    long = tmp_path / ("x" * max(1, length - len(str(tmp_path)) - 1))
    long.mkdir()
    bare.setattr(access, "SHORT_FOLDERS", (str(short),))
    bare.setenv("TMPDIR", str(long))
    folder = private_folder()
    assert folder.parent == short and mode(folder) == 0o700
    assert len(os.fsencode(folder / SOCKET)) <= SOCKET_BYTES < len(os.fsencode(long / folder.name / SOCKET))


def test_without_any_short_folder_it_is_told_how_short_one_must_be(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    bare.setenv("TMPDIR", str(long))
    bare.setattr(access, "SHORT_FOLDERS", ())
    told = f"TMPDIR {long} is too long .* set it to a folder of (19|2[0-9]) bytes or less"
    with pytest.raises(UserError, match=told):
        private_folder()


def test_a_tmpdir_that_is_no_text_is_replaced(bare: pytest.MonkeyPatch, short: Path) -> None:
    odd = short / os.fsdecode(b"\xe9")
    odd.mkdir()
    bare.setattr(access, "SHORT_FOLDERS", (str(short),))
    bare.setenv("TMPDIR", str(odd))
    assert private_folder().parent == short


def test_rays_socket_is_as_long_as_we_think() -> None:
    node = pytest.importorskip("ray._private.node")
    source = Path(node.__file__).read_text(encoding="utf-8")
    assert 'f"session_{date_str}_{os.getpid()}"' in source and '"%Y-%m-%d_%H-%M-%S_%f"' in source
    assert '"sockets"' in source
    dashboard = Path(node.__file__).parents[1] / "dashboard"
    sockets = (dashboard / "subprocesses" / "utils.py").read_text(encoding="utf-8")
    assert 'os.path.join(socket_dir, "dash_" + module_name)' in sockets
    sources = [path.read_text(encoding="utf-8") for path in dashboard.glob("modules/**/*.py")]
    modules = {name for text in sources for name in re.findall(r"class (\w+)\((?:\w+\.)?SubprocessModule\)", text)}
    assert "TaskEventsHead" in modules and max(map(len, modules)) == len("TaskEventsHead")


def test_the_token_is_made_once_in_the_home_for_its_owner_alone(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare.setenv("HOME", str(tmp_path))
    make_token()
    path = tmp_path / ".ray" / "auth_token"
    token = path.read_text()
    assert token_path() == path and mode(path) == 0o600 and mode(path.parent) == 0o700 and len(token) == 64
    path.chmod(0o644)
    make_token()
    assert mode(path) == 0o600 and path.read_text() == token and "RAY_AUTH_TOKEN_PATH" not in os.environ
    assert [found.name for found in path.parent.iterdir()] == ["auth_token"]


@pytest.mark.parametrize("home", [None, "/proc/1", "/nowhere"])
def test_a_home_that_holds_no_token_is_done_without(
    home: str | None, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare.setattr(access, "private_folder", lambda: tmp_path)
    bare.setenv("RAY_AUTH_TOKEN_PATH", "")  # so that what is set is undone
    bare.delenv("RAY_AUTH_TOKEN_PATH")
    bare.setattr(os, "access", lambda path, mode: str(path).startswith(str(tmp_path)))  # root may write anywhere
    bare.delenv("HOME") if home is None else bare.setenv("HOME", home)
    make_token()
    token = tmp_path / "token"
    assert os.environ.pop("RAY_AUTH_TOKEN_PATH") == str(token) and mode(token) == 0o600


def test_a_given_token_stays_as_it_is(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = tmp_path / "token"
    given.write_text("mine")
    given.chmod(0o640)
    bare.setenv("HOME", str(tmp_path))
    bare.setenv("RAY_AUTH_TOKEN_PATH", str(given))
    make_token()
    assert token_path() == given and given.read_text() == "mine" and mode(given) == 0o640
    assert not (tmp_path / ".ray").exists()
