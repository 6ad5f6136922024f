"""What a run takes of its surroundings: the processors it may use, a short private folder, a token, limits."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tune_mnist.running import surroundings
from tune_mnist.running.surroundings import (
    SOCKET,
    SOCKET_BYTES,
    give_home,
    make_token,
    private_folder,
    raised_limits,
    token_file,
    usable_processors,
)
from tune_mnist.spec.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Without Slurm's or a token's environment, and with the folder of temporary files looked for anew."""
    for name in ("SLURM_CPUS_PER_TASK", "LOKY_MAX_CPU_COUNT", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    return monkeypatch


@pytest.fixture
def short(bare: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files with a short name, to which TMPDIR points."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        bare.setenv("TMPDIR", folder)
        bare.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this platform")
def test_a_process_held_to_one_processor_uses_one(bare: pytest.MonkeyPatch) -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " \
           "from tune_mnist.running.surroundings import usable_processors; print(usable_processors())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, cwd=ROOT)
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize(("slurm", "used"), [("1", 1), ("3", 3), ("64", 4), ("", 4), ("0", 4), ("many", 4)])
def test_slurms_share_is_not_exceeded(slurm: str, used: int, bare: pytest.MonkeyPatch) -> None:
    bare.setattr("joblib.cpu_count", lambda: 4)
    bare.setenv("SLURM_CPUS_PER_TASK", slurm)
    assert usable_processors() == used


def test_a_quota_of_a_container_counts(bare: pytest.MonkeyPatch) -> None:
    from joblib.externals.loky.backend import context

    bare.setattr(context, "_cpu_count_affinity", lambda count: 96)
    bare.setattr(context, "_cpu_count_cgroup", lambda count: 2)
    bare.setattr(os, "cpu_count", lambda: 96)
    assert usable_processors() == 2


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
    bare.setattr(surroundings, "SHORT_FOLDERS", (str(short),))
    bare.setenv("TMPDIR", str(long))
    folder = private_folder()
    assert folder.parent == short and mode(folder) == 0o700
    assert len(os.fsencode(folder / SOCKET)) <= SOCKET_BYTES < len(os.fsencode(long / folder.name / SOCKET))


def test_without_any_short_folder_it_is_told_how_short_one_must_be(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    bare.setenv("TMPDIR", str(long))
    bare.setattr(surroundings, "SHORT_FOLDERS", ())
    with pytest.raises(UserError, match=f"TMPDIR {long} is too long .* set it to one of 2[0-9] bytes or less"):
        private_folder()


def test_a_tmpdir_that_is_no_text_is_replaced(bare: pytest.MonkeyPatch, short: Path) -> None:
    odd = short / os.fsdecode(b"\xe9")
    odd.mkdir()
    bare.setattr(surroundings, "SHORT_FOLDERS", (str(short),))
    bare.setenv("TMPDIR", str(odd))
    assert private_folder().parent == short


def test_rays_socket_is_as_long_as_we_think() -> None:
    node = pytest.importorskip("ray._private.node")
    source = Path(node.__file__).read_text(encoding="utf-8")
    assert 'f"session_{date_str}_{os.getpid()}"' in source and '"%Y-%m-%d_%H-%M-%S_%f"' in source
    assert 'default_prefix="plasma_store"' in source and '"sockets"' in source


def test_the_token_is_made_once_in_the_home_for_its_owner_alone(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare.setenv("HOME", str(tmp_path))
    make_token()
    path = tmp_path / ".ray" / "auth_token"
    token = path.read_text()
    assert token_file() == path and mode(path) == 0o600 and mode(path.parent) == 0o700 and len(token) == 64
    path.chmod(0o644)
    make_token()
    assert mode(path) == 0o600 and path.read_text() == token and "RAY_AUTH_TOKEN_PATH" not in os.environ
    assert [found.name for found in path.parent.iterdir()] == ["auth_token"]


@pytest.mark.parametrize("home", [None, "/proc/1", "/nowhere"])
def test_a_home_that_holds_no_token_is_done_without(
    home: str | None, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare.setattr(surroundings, "private_folder", lambda: tmp_path)
    bare.setenv("RAY_AUTH_TOKEN_PATH", "")  # so that what is set is undone
    bare.delenv("RAY_AUTH_TOKEN_PATH")
    bare.setattr(os, "access", lambda path, mode: str(path).startswith(str(tmp_path)))  # root may write anywhere
    bare.delenv("HOME") if home is None else bare.setenv("HOME", home)
    make_token()
    token = tmp_path / "auth_token"
    assert os.environ.pop("RAY_AUTH_TOKEN_PATH") == str(token) and mode(token) == 0o600


def test_a_given_token_stays_as_it_is(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = tmp_path / "token"
    given.write_text("mine")
    given.chmod(0o640)
    bare.setenv("HOME", str(tmp_path))
    bare.setenv("RAY_AUTH_TOKEN_PATH", str(given))
    make_token()
    assert token_file() == given and given.read_text() == "mine" and mode(given) == 0o640
    assert not (tmp_path / ".ray").exists()


def test_a_home_is_given_only_to_a_user_without_one(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare.setattr(surroundings, "private_folder", lambda: tmp_path)
    bare.setenv("HOME", str(tmp_path / "mine"))
    give_home()
    assert os.environ["HOME"] == str(tmp_path / "mine")
    bare.delenv("HOME")
    bare.setattr("pwd.getpwuid", lambda uid: {}[uid])  # as for a number that no entry has
    give_home()
    assert os.environ["HOME"] == str(tmp_path / "home") and (tmp_path / "home").is_dir()


def test_limits_are_raised_within_the_block_and_told_where_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = resource.RLIMIT_NOFILE
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (1000, before[1]))
    try:
        with raised_limits():
            assert resource.getrlimit(kind) == (before[1], before[1])
        assert resource.getrlimit(kind) == (1000, before[1])
        monkeypatch.setattr(surroundings, "LEAST_FILES", before[1] + 1)
        told = r"at least \d+ open files .* raise the limit \(ulimit -n\)"
        with pytest.raises(UserError, match=told), raised_limits():
            pass
        assert resource.getrlimit(kind) == (1000, before[1])
    finally:
        resource.setrlimit(kind, before)
