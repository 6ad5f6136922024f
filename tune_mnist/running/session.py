"""Ray's start and end: on loopback and behind its token, or a cluster joined."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest.mock import patch  # to replace functions of Ray's for a while

import ray
from rich.console import Console

from tune_mnist.running.access import authentication_mode, make_token, private_folder
from tune_mnist.running.nodes import check_storage, live_nodes, waiting_line
from tune_mnist.running.resources import Resources, check_port
from tune_mnist.running.surroundings import raised_limits, usable_processors
from tune_mnist.shell.about import PACKAGE
from tune_mnist.shell.garbage import collect_seldom
from tune_mnist.shell.signals import deferring, reinstate, unwinding
from tune_mnist.spec.errors import UserError, require
from tune_mnist.study.storage.base import Storage

# Ray's own tables, loggers and SIGINT handling are replaced by ours; workers stay in the driver's folder.
RAY_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    # Each trial runs in a thread of its own, for which glibc would open and keep an arena of its own.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}
# For a Ray of our own: ask for the token, listen on loopback alone, as Ray does on Windows and macOS, and start no
# workers before trials ask for some: they would get others. Its processes try each other for 10 seconds, as they do
# by default, but not once a second only, which half of all starts took longer for.
OWN_RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_prestart_worker_first_driver": "0",
    "RAY_raylet_client_connect_timeout_milliseconds": "20", "RAY_raylet_client_num_connect_attempts": "500",
}
WORKERS = {"worker_process_setup_hook": f"{collect_seldom.__module__}.{collect_seldom.__name__}"}
INIT_SECONDS = 4.0
NODE_SECONDS = 30.0
ANSWER_SECONDS = 10.0
LOOPBACK = "127.0.0.1"
NO_TOKEN = (
    "warning: this Ray cluster is not seen to ask for a token: whoever reaches its ports can run code on it; "
    "start it with RAY_AUTH_MODE=token"
)


_kept: dict[str, str] = {}
"""Of a session that we started and kept: its name, and what of the environment it goes with."""
NAME = "TUNE_MNIST_RAY_SESSION"


@contextlib.contextmanager
def ray_session(
    resources: Resources, console: Console, storage: Storage | None = None, *, keep: bool = False
) -> Iterator[None]:
    """Start Ray on this machine, on loopback, or join `resources.address`; shut down at the end.

    A program that has a session of Ray's already keeps it, during the block and after. With `keep` one that is started
    here lives on, for the next such block, to the end of the program or `ray.shutdown()`, unless the block fails. Every
    node of a cluster, or of such a session, that may get a trial must read and write `storage`, if one is given.

    Raises:
        UserError: Ray does not start, there is no such cluster, no node can hold a trial, or one does not
            reach the storage.
        KeyboardInterrupt: a signal came meanwhile.
    """
    if _is_kept() and resources.address is not None:
        _shut_down()
    given = ray.is_initialized() and not _is_kept()
    if given:
        remedy = "end it by ray.shutdown(), or leave out the address"
        require(resources.address is None, "a program has one session of Ray's", "an address beside its own", remedy)
    with _session(resources, given, keep) as url:
        nodes = live_nodes()
        own = resources.address is None and not given
        resources.check(nodes)
        if storage is not None and not own:
            check_storage(storage, filter(resources.can_hold, nodes))
        full = waiting_line(resources, nodes)
        if full and not own:
            console.print(full, highlight=False, soft_wrap=True)
        if url:
            path = os.environ.get("RAY_AUTH_TOKEN_PATH")
            token = f"in {path}" if path else "`ray get-auth-token`"
            line = f"Ray dashboard: http://{url} (its token: {token})"
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        own_token = own and os.environ["RAY_AUTH_MODE"].lower() == "token"
        if not given and not own_token and authentication_mode(url) != "token":
            console.print(NO_TOKEN, highlight=False, soft_wrap=True)
        # Ray tells of every worker that dies on stdout, which is for results.
        with patch.object(ray._private.worker, "print_to_stdstream", _do_nothing):
            yield


def refuse_given_session() -> None:
    """Raise `UserError` if the program has a session of Ray's already."""
    remedy = "end it by ray.shutdown(), or run this in a program of its own"
    if _is_kept():
        _shut_down()
    require(not ray.is_initialized(), "no session of Ray's runs in this program", "one", remedy)


@contextlib.contextmanager
def _session(resources: Resources, given: bool, keep: bool) -> Iterator[str]:
    """A session of Ray's, started, joined or `given`, for the block, which gets its dashboard's address or ""."""
    tune = logging.getLogger("ray.tune")
    level = tune.level
    try:
        if given:
            _set_environment(RAY_ENVIRONMENT)
            yield ray._private.worker.get_dashboard_url() or ""
        elif resources.address is not None:
            with joined(resources.address) as url:
                yield url
        else:
            with raised_limits(), _again() if _is_kept() else _started(keep) as url:
                yield url
    finally:
        tune.setLevel(level)


@contextlib.contextmanager
def joined(address: str) -> Iterator[str]:
    """Join the cluster at `address` for the block, which gets its dashboard's address, "" if it has none.

    Raises:
        UserError: there is no such cluster.
    """
    try:
        yield _join(address)
    finally:
        _shut_down()


def _is_kept() -> bool:
    """Whether the program's session of Ray's is one that we started and kept."""
    node: Any = ray._private.worker._global_node  # None in a client of a cluster
    return ray.is_initialized() and node is not None and node.session_name == _kept.get(NAME)


@contextlib.contextmanager
def _again() -> Iterator[str]:
    """Use the session that was kept for the block, which gets its dashboard's address; if that fails, it ends."""
    _set_environment({name: value for name, value in _kept.items() if name != NAME})
    try:
        yield ray._private.worker.get_dashboard_url() or ""
    except BaseException:
        _shut_down()
        raise


@contextlib.contextmanager
def _started(keep: bool) -> Iterator[str]:
    """Start Ray on this machine for the block, which gets its dashboard's address."""
    before = dict(os.environ)
    _set_environment(RAY_ENVIRONMENT | OWN_RAY_ENVIRONMENT)
    # Ray read both when it was imported.
    ray._raylet.Config.initialize("")  # type: ignore[attr-defined]
    clusters = os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"
    make_token()
    folder = private_folder()
    os.environ["TMPDIR"] = str(folder.parent)  # where the dashboard makes sockets, too
    python = shlex.quote(sys.executable)  # Ray gives it to a shell as it is
    workers = WORKERS | ({} if python == sys.executable else {"py_executable": python})
    options = {"_temp_dir": str(folder / "ray"), "dashboard_host": LOOPBACK, "include_dashboard": True,
               "num_cpus": usable_processors(), "object_store_memory": 512 * 2**20, "runtime_env": workers}
    any_port = functools.partial(ray._private.parameter.RayParams, dashboard_agent_listen_port=0)
    with (
        patch.object(ray._private.ray_constants, "ENABLE_RAY_CLUSTER", clusters),
        # Where another Ray has the one port that Ray takes by default, it asks for that for seconds, and does without.
        patch.object(ray._private.parameter, "RayParams", any_port),
    ):
        try:
            url = _init(address="local", **options)
        except UnicodeError:
            raise UserError("Ray takes paths in UTF-8 alone: set PYTHONUTF8=1") from None
        except Exception as error:  # of many kinds: the dashboard's is a plain one
            raise UserError(f"Ray did not start ({_one_line(error)}): see its logs in {folder / 'ray'}") from None
        try:
            yield url
        except BaseException:
            _shut_down()
            raise
        if keep:
            _kept.clear()
            _kept.update({name: value for name, value in os.environ.items() if before.get(name) != value})
            node: Any = ray._private.worker._global_node
            _kept[NAME] = node.session_name
        else:
            _shut_down()


def _join(address: str) -> str:
    _set_environment(RAY_ENVIRONMENT)
    try:
        host_port = ray._private.services.canonicalize_bootstrap_address(address)
        if host_port is None:
            raise ConnectionError("no Ray runs on this machine")
        check_port(host_port, address)
        _check_answers(host_port)
        return _init(address=host_port, runtime_env=worker_environment())
    except UserError:
        raise
    except ray.exceptions.AuthenticationError:
        remedy = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with its token"
        raise UserError(f"the Ray cluster at {address} asks for another token: {remedy}") from None
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(f"no Ray cluster to join at {address} ({_one_line(error)}): check --address") from None


def worker_environment() -> dict[str, Any]:
    """What a cluster's workers need of us: this very package, installed there or not, and Ray's settings."""
    return {**WORKERS, "py_modules": [str(PACKAGE)], "excludes": ["**/__pycache__"],
            "env_vars": {name: os.environ[name] for name in RAY_ENVIRONMENT}}


def _check_answers(host_port: str) -> None:
    """Raise unless a Ray of our version answers there soon: Ray itself tries for a minute, then ends the process."""
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            client = ray._raylet.GcsClient(address=host_port)  # type: ignore[attr-defined]
            client.internal_kv_get(b"CLUSTER_METADATA", b"cluster")
        except BaseException as error:
            failed.append(error)

    asking = threading.Thread(target=ask, name="ray-answers", daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    if failed:
        raise failed[0]
    if asking.is_alive():
        raise TimeoutError(f"what listens there does not answer as Ray does in {ANSWER_SECONDS:g} s")


def _init(**options: Any) -> str:
    """Start or join Ray and return its dashboard's address, if it has one; cut short, leave no process behind."""
    import psutil  # Ray's own, which is found once Ray is imported

    me = psutil.Process()
    before = set(me.children(recursive=True))
    try:
        # Interrupted in its middle, Ray may crash; and it would put its own handler of SIGTERM in place of ours.
        with (
            deferring(INIT_SECONDS), patch.object(ray._private.utils, "set_sigterm_handler", _do_nothing),
            patch.object(ray._private.node.Node, "start_log_monitor", _do_nothing),  # it would have nobody to tell
            patch.object(ray._private.services, "get_node", _get_node_once_up(ray._private.services.get_node)),
        ):
            info = ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
            reinstate()  # Ray's crash handler takes SIGTERM for a crash, and a second one ends the process there
    except BaseException:
        unwinding()
        # Ray may not know yet what it has started, and some of it would live on for a minute.
        started = set(me.children(recursive=True)) - before
        _shut_down()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        raise
    return info.dashboard_url or ""


def _shut_down() -> None:
    """Shut Ray down with our handling of signals in force: in its middle Ray lets SIGTERM end the process again."""
    unwinding()
    state = ray._private.state.state
    disconnect = state.disconnect  # what Ray does next

    def reinstate_first() -> None:
        reinstate()
        disconnect()

    with patch.object(state, "disconnect", reinstate_first):
        ray.shutdown()


def _get_node_once_up(get_node: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    """Ray's `get_node`, asked once there is an answer: too early, Ray waits for a second before it asks again."""

    def wait_and_get(address: str, node_id: str) -> Any:
        client, deadline = ray._raylet.GcsClient(address=address), time.monotonic() + NODE_SECONDS  # type: ignore[attr-defined]
        while time.monotonic() < deadline and not client.get_all_node_info():
            time.sleep(0.02)
        return get_node(address, node_id)

    return wait_and_get


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    """What Ray is to do in some places."""


def _one_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__


def _set_environment(wanted: Mapping[str, str]) -> None:
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it would say is in our own tables
    os.environ.update({name: os.environ.get(name, value) for name, value in wanted.items()})
