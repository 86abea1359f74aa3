"""The reference is what its program makes of the docstrings, and holds every public name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import docdb

DOCS = Path(__file__).resolve().parents[2] / "docs"
MODULES = {"aio", "command", "ejson", "geo"}


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the program makes now, in a process of its own: the suite wraps some methods."""
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run([sys.executable, str(DOCS / "build_reference.py"), str(folder)], check=True)
    return read(folder)


def test_the_pages_are_what_make_docs_makes(made: dict[str, str]) -> None:
    kept = read(DOCS / "reference")
    assert sorted(kept) == sorted(made)
    # Other versions of click break the lines of a help text elsewhere.
    stale = [name for name, text in made.items() if kept[name].split() != text.split()]
    assert stale == [], "run `make docs`"


def test_every_public_name_is_there(made: dict[str, str]) -> None:
    text = "\n".join(made.values())
    marks = ("## class ", "## ", "| `")
    assert [n for n in docdb.__all__ if n not in MODULES and not any(f"{mark}{n}" in text for mark in marks)] == []


def test_every_entry_says_something(made: dict[str, str]) -> None:
    silent = [
        f"{name}: {part.splitlines()[0]}"
        for name, text in made.items()
        for part in text.split("\n\n**`")[1:]
        if not part.split("**  \n", 1)[-1].strip()
    ]
    assert silent == []
