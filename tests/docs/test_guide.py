"""The guide: its blocks run in order, and each line gives what the comment behind it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
SAID = re.compile(r"  # (['\"\[({0-9].*|None|True|False)$")


def expressions(source: str) -> list[tuple[int, Any]]:
    """Return (line, value) of the comments that tell a value."""
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        said = SAID.search(line)
        if said is not None:
            found.append((number, said.group(1)))
    return found


def run(source: str, names: dict[str, Any]) -> list[tuple[int, str]]:
    """Run a block; return (line, repr) of every expression that is a line of its own, in functions of none."""
    tree = ast.parse(source)

    class Noted(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            return node

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
            return node

        def visit_Expr(self, node: ast.Expr) -> ast.AST:
            call = ast.Call(ast.Name("_note", ast.Load()), [ast.Constant(node.end_lineno), node.value], [])
            return ast.copy_location(ast.Expr(call), node)

    noted: list[tuple[int, str]] = []
    names["_note"] = lambda line, value: noted.append((line, repr(value)))
    exec(compile(ast.fix_missing_locations(Noted().visit(tree)), "guide", "exec"), names)
    return noted


def test_the_guide_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    wrong = []
    told = 0
    for block in BLOCK.findall((ROOT / "docs" / "guide.md").read_text(encoding="utf-8")):
        given = dict(run(block, names))
        for line, said in expressions(block):
            told += 1
            if given.get(line) not in (said, repr(said.strip("'"))):
                wrong.append((block.splitlines()[line - 1], given.get(line)))
    assert wrong == []
    assert told > 25
