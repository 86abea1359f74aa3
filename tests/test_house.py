"""The rules of the house: floors, sizes, what a module says of itself, tables in order."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
MOST_LINES: Final = 550
MOST_STATEMENTS: Final = 50  # of a function, nested ones counted
MODULES: Final = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "docdb").rglob("*.py"))
}
TREES: Final = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
# Outside the floors: the public names, the start of the command line, and two public modules over the language.
OUTSIDE: Final = {"docdb", "docdb.__main__", "docdb.ejson", "docdb.geo"}
TABLES: Final = [
    ("docdb.language.filters", "DOCUMENT_OPERATORS"),
    ("docdb.language.filters", "UNSUPPORTED_OPERATORS"),
    ("docdb.language.update_arrays", "ARRAY_OPERATORS"),
    ("docdb.pipeline.runner", "STAGES"),
    ("docdb.pipeline.window_functions", "FUNCTIONS"),
    ("docdb.cli.main", "VERBS"),
    ("docdb.cli.shell_language", "CONSTRUCTORS"),
]


@cache
def layers() -> list[str]:
    """Return the floors from the top, as the contract in pyproject.toml says them."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    found: list[str] = contract["contracts"][0]["layers"]
    return found


def floors() -> list[list[str]]:
    """Return the floors from the top, each with its rooms."""
    return [[room.strip() for room in layer.replace(":", "|").split("|")] for layer in layers()]


def together(room: str, other: str) -> bool:
    """Tell whether two rooms are one in the contract (joined by a colon): they may import each other."""
    return any({room, other} <= {part.strip() for part in layer.split(":")} for layer in layers())


def room_of(module: str) -> str:
    """Return the room a module lies in: the longest name in the contract that it begins with."""
    rooms = [room for floor in floors() for room in floor if f"{module}.".startswith(f"{room}.")]
    return max(rooms, key=len, default="")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports of docdb when it runs, functions included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imports(node)


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield name and number of statements of each function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, sum(isinstance(part, ast.stmt) for part in ast.walk(node)) - 1


@pytest.mark.parametrize("module", sorted(set(MODULES) - OUTSIDE))
def test_imports_go_downward(module: str) -> None:
    heights = {room: len(floors()) - at for at, floor in enumerate(floors()) for room in floor}
    own = room_of(module)
    assert own, "a module outside every floor"
    wrong = [
        found
        for found in imports(TREES[module])
        if found.startswith("docdb.") and (room := room_of(found)) not in ("", own)
        and heights[room] >= heights[own] and not together(room, own)
    ]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize("module", [name for name, tree in TREES.items() if tree.body])
def test_a_module_says_what_it_is(module: str) -> None:
    assert len(ast.get_docstring(TREES[module]) or "") >= 30


@pytest.mark.parametrize("module", [name for name in MODULES if name.count(".") >= 2 and ".cli." not in name])
def test_a_module_in_a_room_says_what_lives_there(module: str) -> None:
    words = " ".join((ast.get_docstring(TREES[module]) or "").split())
    said = "must not know" in words or not TREES[module].body or MODULES[module].name == "__init__.py"
    assert said


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_a_crowd(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module: str) -> None:
    assert [found for found in functions(TREES[module]) if found[1] > MOST_STATEMENTS] == []


@pytest.mark.parametrize(("module", "table"), TABLES, ids=[table for _, table in TABLES])
def test_a_table_is_sorted(module: str, table: str) -> None:
    names = list(getattr(import_module(module), table))
    assert names == sorted(names)
