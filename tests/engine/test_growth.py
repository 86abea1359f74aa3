"""Room at the end of the data file: made in steps, never in the way."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from docdb.engine import growth
from docdb.engine.base import DOCUMENTS
from docdb.engine.growth import LARGEST_STEP, LEAST_BYTES, SMALLEST_STEP, Room
from docdb.engine.lmdb import open_engine, verify_file
from tests.engine.conftest import native_or_skip

MIB = 2**20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a file of a megabyte of ones."""
    path = tmp_path / "file"
    path.write_bytes(b"\1" * MIB)
    return path


@pytest.mark.parametrize(
    ("size", "used", "grown"),
    [
        pytest.param(MIB, MIB - LEAST_BYTES, 0, id="room"),
        pytest.param(MIB, MIB - LEAST_BYTES + 1, SMALLEST_STEP, id="little"),
        pytest.param(MIB, MIB, SMALLEST_STEP, id="none"),
        pytest.param(MIB, MIB + 1, 0, id="shorter-than-used"),
        pytest.param(4 * MIB, 4 * MIB, MIB // 2, id="a-share"),
        pytest.param(100 * MIB, 100 * MIB, LARGEST_STEP, id="large"),
    ],
)
def test_steps(file: Path, size: int, used: int, grown: int) -> None:
    os.truncate(file, size)
    room = Room(file)
    room.keep(used)
    room.keep(used)
    room.close()
    assert file.stat().st_size == size + grown
    assert file.read_bytes()[:MIB] == b"\1" * MIB


def test_what_another_process_has_added_is_seen_first(file: Path) -> None:
    room = Room(file)
    room.keep(MIB)
    with open(file, "ab") as other:
        other.write(b"\2" * MIB)
    room.keep(MIB + SMALLEST_STEP)
    room.close()
    assert file.stat().st_size == 2 * MIB + SMALLEST_STEP
    assert file.read_bytes()[-MIB:] == b"\2" * MIB


def test_a_full_disk_is_left_to_the_commit(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "no space")

    room = Room(file)
    monkeypatch.setattr(growth.os, "pwrite", full)
    room.keep(MIB)
    room.close()
    assert file.stat().st_size == MIB


@pytest.mark.parametrize("native", [True, False], ids=["native", "public"])
def test_small_commits_seldom_make_the_file_longer(tmp_path: Path, native: bool) -> None:
    if native:
        native_or_skip()
    engine = open_engine(tmp_path / "x", native=native)
    data = tmp_path / "x" / "data.mdb"
    sizes = set()
    for n in range(300):
        writer = engine.begin(write=True)
        writer.put_many(DOCUMENTS, [(b"%06d" % n, b"x" * 3000)])
        writer.commit()
        sizes.add(data.stat().st_size)
    engine.close()
    assert len(sizes) < 12
    verify_file(data)
    again = open_engine(tmp_path / "x", native=native, verify=True)
    assert again.begin().count(DOCUMENTS, b"", b"\xff") == 300
    again.close()
