"""Images of power cuts: a short form of the campaign, and whether it would notice a flush that is not there."""

from __future__ import annotations

import random

import pytest

from tests.engine.conftest import native_or_skip
from tests.faults import images

IMAGES = 38  # of each recording: 304 in all


@pytest.mark.parametrize(
    "recording", range(len(images.RECORDINGS)), ids=["-".join(names) for names in images.RECORDINGS]
)
def test_a_power_cut_leaves_whole_commits(recording: int) -> None:
    assert images.RECORDINGS[recording][0] != "native" or native_or_skip()
    images.recorder()
    events, count, _, failures = images.campaign_of(recording, IMAGES, seed=1)
    assert failures == []
    assert count == IMAGES
    assert events > 500


@pytest.mark.damaged
def test_a_flush_that_is_missing_is_noticed() -> None:
    images.recorder()
    *_, failures = images.campaign_of(0, 30, seed=2, flushes=False)
    assert len(failures) > 10


def test_sectors_are_cut_where_a_disk_cuts_them() -> None:
    data = bytes(range(256)) * 4
    pieces = list(images.sectors(500, data))
    assert [at for at, _ in pieces] == [500, 512, 1024]
    assert b"".join(piece for _, piece in pieces) == data


def test_what_was_flushed_is_in_every_image() -> None:
    disk = images.Disk()
    for event in (
        images.Event("W", False, 0, b"a" * 1024), images.Event("S", False, 1, b""), images.Event("W", False, 512, b"b" * 1024),
    ):  # fmt: skip
        disk.advance(event)
    chance = random.Random(3)
    found = {bytes(disk.image(chance, None)[512::512]) for _ in range(300)}
    assert found == {b"a", b"b", b"ab", b"bb"}
    assert all(disk.image(chance, None)[:512] == b"a" * 512 for _ in range(20))
