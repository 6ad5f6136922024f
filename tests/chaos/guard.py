"""What a run shows to others on the machine: ports, routes, files and its token."""

from __future__ import annotations

import re
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from chaos.harness import Lab, Run

# Ray answers these to everyone: whether a token is asked for, and whether it is alive.
PUBLIC = {"/api/authentication_mode", "/api/healthz", "/api/gcs_healthz", "/api/local_raylet_healthz"}
TCP_LISTENS = "0A"


def guard(lab: Lab, count: int) -> str:
    """Look at a run from outside: no route without the token, no port but on loopback, no token in any output."""
    run = lab.start("guarded", chaos={"slow": 0.5, "dashboard": True})
    run.wait_for(lambda: "dashboard:" in run.stderr and len(run.workers()) >= 2)
    (port,) = re.findall(r"http://127\.0\.0\.1:(\d+) ", run.stderr)
    routes = sorted(set(api_routes()))
    assert len(routes) > 30, routes
    open_routes = [route for route in routes if answer(int(port), *route) != 401]
    assert {path for _, path in open_routes} <= PUBLIC, open_routes
    ports = sorted(set(listening(run)))
    assert ports and all(address.startswith("127.") for address, _ in ports), ports
    check_files(lab, run)
    run.kill()
    told = f"{len(routes) - len(open_routes)} of {len(routes)} routes answer 401, the rest only whether Ray is well"
    return f"{told}; {len(ports)} ports, all on loopback; no token in any output"


def api_routes() -> Iterator[tuple[str, str]]:
    """Method and path of every route under /api that Ray's dashboard defines."""
    import ray.dashboard

    pattern = re.compile(r"\.(get|post|put|delete|patch|head)\(\s*f?\"(/api[^\"]*)\"")
    for source in Path(ray.dashboard.__file__).parent.rglob("*.py"):
        for method, path in pattern.findall(source.read_text()):
            yield method.upper(), re.sub(r"{[^}]*}", "x", path)


def answer(port: int, method: str, path: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as told:
            return int(told.status)
    except urllib.error.HTTPError as error:
        return error.code


def listening(run: Run) -> Iterator[tuple[str, int]]:
    """Address and port of every TCP socket on which a process of the run listens."""
    inodes = set()
    for pid in run.processes():
        for entry in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes |= set(re.findall(r"socket:\[(\d+)\]", str(entry.readlink())))
            except OSError:
                continue
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == TCP_LISTENS and fields[9] in inodes:
                address, port = fields[1].split(":")
                yield readable(address), int(port, 16)


def readable(address: str) -> str:
    """An address of /proc/net: words of 4 bytes, each in the machine's order."""
    words = b"".join(struct.pack("=I", int(address[i : i + 8], 16)) for i in range(0, len(address), 8))
    mapped = words[:12] == bytes(10) + b"\xff\xff"
    return socket.inet_ntoa(words[-4:]) if len(words) == 4 or mapped else socket.inet_ntop(socket.AF_INET6, words)


def check_files(lab: Lab, run: Run) -> None:
    """The token is its owner's alone and in no output or log, and nobody else can enter the sessions' folder."""
    path = Path.home() / ".ray" / "auth_token"
    assert path.stat().st_mode & 0o777 == 0o600
    token = path.read_text().strip()
    assert token not in run.stdout + run.stderr
    raylet = next(line for line in run.processes().values() if "raylet/raylet " in line)
    (session,) = set(re.findall(r"(/\S*/ray/session_[^/\s]+)", raylet))
    assert Path(session).parents[1].stat().st_mode & 0o777 == 0o700
    for folder in (Path(session), lab.folder):
        for file in folder.rglob("*"):
            if file.is_file():
                assert token.encode() not in file.read_bytes(), file
