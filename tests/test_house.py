"""Tests of the house: which room imports which, lazy imports included, against one table, the README's."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tune_mnist"
COMMANDS = "commands"
"""The modules at the top of the package."""
ROOMS = sorted(folder.parent.name for folder in PACKAGE.glob("*/__init__.py"))
MODULES = {path: path.relative_to(ROOT).with_suffix("") for path in PACKAGE.rglob("*.py")}
NAMES = {".".join(module.parts).removesuffix(".__init__"): path for path, module in MODULES.items()}


def room_of(path: Path) -> str:
    """The room that a module lies in."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else COMMANDS


def imported(path: Path) -> set[str]:
    """The package's modules that a module imports, those inside functions and for types alone included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else str(node.module) for name in names}
    return {name for name in found if name in NAMES}


def table() -> dict[str, set[str]]:
    """Of each room which others it may import, as the table of its README says."""
    text = (ROOT / "tune_mnist" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \|[^|]*\| ([^|]*) \|$", text, flags=re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)/`", allowed)) for room, allowed in rows}


def test_the_readmes_table_has_every_room_and_goes_one_way() -> None:
    allowed = table()
    assert sorted(allowed) == ROOMS
    above: set[str] = set()
    for room, others in allowed.items():
        assert others <= above, f"{room} may import {others - above}, which stand below it"
        above.add(room)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_table_allows(room: str) -> None:
    allowed = table()[room] | {room}
    for path in (PACKAGE / room).rglob("*.py"):
        rooms = {room_of(NAMES[name]) for name in imported(path) if name != "tune_mnist"}
        assert rooms <= allowed, f"{path.relative_to(PACKAGE)} imports {rooms - allowed}"


def test_there_is_no_circle_of_imports() -> None:
    waiting = {name: imported(path) - {name} for name, path in NAMES.items()}
    while free := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in free}
    assert not waiting, f"these import each other: {', '.join(sorted(waiting))}"


@pytest.mark.parametrize("init", sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.glob("*/**/__init__.py")))
def test_the_init_of_a_room_or_a_folder_in_it_is_its_clause_alone(init: str) -> None:
    (clause,) = ast.parse((PACKAGE / init).read_text(encoding="utf-8")).body
    assert isinstance(clause, ast.Expr) and isinstance(clause.value, ast.Constant)


def test_only_running_searching_the_server_and_commands_import_ray() -> None:
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if re.search(r"^\s*(from|import) ray\b", source, flags=re.MULTILINE):
            inside = room_of(path) in ("running", "searching", COMMANDS) or path.name == "server.py"
            assert inside, f"{path.relative_to(PACKAGE)} imports Ray"


def test_files_are_short_and_rooms_small() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    long = {str(path): length for path, length in lengths.items() if length > 320}
    assert not long
    sizes: dict[str, int] = defaultdict(int)
    for path in lengths:
        sizes[str(path.parent)] += path.name != "__init__.py"
    assert sorted(sizes.values())[len(sizes) // 2] <= 9
