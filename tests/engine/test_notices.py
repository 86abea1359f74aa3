"""Notices of commits that are not durable yet: the board, outcomes, waiting for them; the kernel and both reference forms."""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
import threading
import time
import zlib
from array import array
from pathlib import Path
from typing import Any

import pytest

from docdb.engine import bell as room
from docdb.engine import notices
from docdb.engine.bell import NAME, Bell
from tests.engine.test_bell import FORMS

SOON_S = 20.0
RECORDS = [(b"key", b"value"), (b"\x00" * 12, b""), (b"end", bytes(range(256)))]
OWN, OTHERS = 0x0000FFFF, 0xFFFF0000
SEAL = 77


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, notices.SIZE)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture(params=[form for form in FORMS if form.id != "condition"])
def futex(request: pytest.FixtureRequest) -> Any:
    return request.param()


def test_what_is_posted_is_read_once(memory: mmap.mmap) -> None:
    token = notices.post(memory, 5, 7, 8, RECORDS, SEAL)
    notice = notices.read(memory, 0, SEAL)
    assert notice is not None
    assert (notice.token, notice.rung, notice.first, notice.last) == (token, 5, 7, 8)
    assert [tuple(record) for record in notice.records] == RECORDS
    assert notices.read(memory, token, SEAL) is None
    assert notice.wait(0.0) is False


def test_an_empty_board_shows_nothing(memory: mmap.mmap) -> None:
    assert notices.read(memory, 0, SEAL) is None


def test_what_another_database_has_posted_is_not_read(memory: mmap.mmap) -> None:
    notices.post(memory, 5, 7, 7, RECORDS, SEAL)
    assert notices.read(memory, 0, SEAL + 1) is None


def test_what_is_too_long_is_not_posted(memory: mmap.mmap) -> None:
    token = notices.post(memory, 5, 7, 7, RECORDS, SEAL)
    room_left = notices.SIZE - notices._BODY_AT
    assert notices.post(memory, 6, 8, 8, [(b"k", bytes(room_left))], SEAL) == 0
    kept = notices.read(memory, 0, SEAL)
    assert kept is not None and kept.token == token
    for size in range(room_left - 40, room_left + 1):
        posted = notices.post(memory, 6, 8, 8, [(b"k", bytes(size))], SEAL)
        found = notices.read(memory, 0, SEAL)
        assert found is not None and (found.token == posted or posted == 0)


def test_a_torn_notice_is_not_read(memory: mmap.mmap) -> None:
    chance = random.Random(3)
    token = notices.post(memory, 5, 7, 7, RECORDS, SEAL)
    end = notices._BODY_AT + notices._HEAD.unpack_from(memory, notices._HEAD_AT)[1]
    whole = memory[:end]
    for _ in range(2_000):
        at = chance.randrange(notices._HEAD_AT, end)
        memory[:end] = whole
        memory[at] ^= chance.randrange(1, 256)
        found = notices.read(memory, 0, SEAL)
        assert found is None or found.token == token and at < notices._HEAD_AT + 8, (
            "of the head's token only the body's counts"
        )
    memory[:end] = whole
    found = notices.read(memory, 0, SEAL)
    assert found is not None and found.token == token
    for _ in range(200):
        memory[notices._HEAD_AT : notices._HEAD_AT + 64] = chance.randbytes(64)
        assert notices.read(memory, 0, SEAL) is None


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x05", b"\x95\x01\x02\x03\x04", b"\xdd\xff\xff\xff\xff"]
)
def test_what_another_release_has_posted_is_not_read(memory: mmap.mmap, body: bytes) -> None:
    end = notices._BODY_AT + len(body)
    memory[notices._HEAD_AT : end] = notices._HEAD.pack(1, len(body), zlib.crc32(body, SEAL)) + body
    assert notices.read(memory, 0, SEAL) is None


def test_outcomes_are_told_by_token(memory: mmap.mmap) -> None:
    tokens = [notices.post(memory, n, n, n, RECORDS, SEAL) for n in range(notices.OUTCOMES)]
    assert [notices.outcome(memory, token) for token in tokens] == [None] * len(tokens)
    for n, token in enumerate(tokens):
        notices.settle(memory, token, n % 2 == 0)
    assert [notices.outcome(memory, token) for token in tokens] == [True, False] * (len(tokens) // 2)
    later = notices.post(memory, 1, 1, 1, RECORDS, SEAL)
    assert notices.outcome(memory, later) is None
    notices.settle(memory, later, False)
    notices.settle(memory, tokens[0], True)  # by one who was held up
    assert [notices.outcome(memory, token) for token in (later, tokens[0])] == [None, True]


def test_a_child_draws_other_tokens(memory: mmap.mmap) -> None:
    readable, writable = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writable, str(notices.post(memory, 1, 1, 1, RECORDS, SEAL)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(readable, 100)) not in range(
        notices.post(memory, 1, 1, 1, RECORDS, SEAL) - 10, notices.post(memory, 1, 1, 1, RECORDS, SEAL) + 10
    )
    os.close(readable)
    os.close(writable)


@pytest.mark.parametrize("landed", [True, False])
def test_a_herald_tells_the_outcome_of_its_notice(form: Any, memory: mmap.mmap, landed: bool) -> None:
    token = notices.post(memory, 9 ^ room.FOREWORD, 9, 9, RECORDS, SEAL)
    herald = form.Herald(memory, 9, OWN, True, token)
    assert notices.outcome(memory, token) is None
    herald.tell(landed)
    herald.tell(not landed)
    assert notices.outcome(memory, token) is landed
    assert form.value(memory) == 9 if landed else form.value(memory) == 9 ^ room.FOREWORD ^ room.NUDGE
    assert form.wait_for(memory, token, 9 ^ room.FOREWORD, 10**12, OTHERS) is landed


def test_an_outcome_is_waited_for(futex: Any, memory: mmap.mmap) -> None:
    for n in range(1, 40):
        rung, landed = n ^ room.FOREWORD, n % 3 > 0
        token = notices.post(memory, rung, n, n, RECORDS, SEAL)
        futex.ring_others(memory, rung, OWN)
        herald = futex.Herald(memory, n, OWN, n % 2 > 0, token)
        telling = threading.Timer(0.002 * (n % 3), herald.tell, (landed,))
        telling.start()
        assert futex.wait_for(memory, token, rung, 10**12, OTHERS) is landed
        telling.join()


def test_another_number_ends_the_wait_and_a_nudge_does_not(futex: Any, memory: mmap.mmap) -> None:
    token = notices.post(memory, 5, 1, 1, RECORDS, SEAL)
    futex.ring(memory, 5)
    ended = threading.Event()

    def wait() -> None:
        assert futex.wait_for(memory, token, 5, 10**12, OTHERS) is False
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    for _ in range(10):
        futex.ring(memory, futex.value(memory) ^ room.NUDGE)
        time.sleep(0.002)
    assert not ended.is_set()
    futex.ring(memory, 6)
    assert ended.wait(SOON_S)
    thread.join()


def test_the_wait_ends_with_its_time(form: Any, memory: mmap.mmap) -> None:
    token = notices.post(memory, 5, 1, 1, RECORDS, SEAL)
    form.ring(memory, 5)
    assert form.wait_for(memory, token, 5, 2_000_000, OTHERS) is False
    assert form.wait_for(memory, token, 5, 0, OTHERS) is False


def test_each_asks_anew_when_it_goes_to_sleep(futex: Any, memory: mmap.mmap) -> None:
    quiet = array("I", [0, 1, 0])
    futex.wait(memory, 0, 1_000_000, quiet, OTHERS)
    assert not futex.asked(memory, OWN)
    futex.wait(memory, 0, 1_000_000, quiet, OTHERS, True)
    assert not futex.asked(memory, OTHERS), "the own wish is none"
    assert futex.asked(memory, OWN)
    assert not futex.asked(memory, OWN)


def test_nobody_asks_where_processes_cannot_be_rung(memory: mmap.mmap) -> None:
    form = room._Condition()
    form.wait(memory, 0, 1_000_000, array("I", [0, 1, 0]), OTHERS, True)
    assert form.asked(memory, OWN) is False


ASKING = """
import pathlib, sys
from array import array
from docdb.engine.bell import Bell
bell = Bell.beside(pathlib.Path(sys.argv[1]), create=False)
quiet = array("I", [0, 1, 0])
seen = bell.value()
print("here", flush=True)
while (notice := bell.notice(77)) is None:
    bell.wait(seen, 60, quiet, eager=True)
    seen = bell.value()
print(notice.first, notice.last, len(list(notice.records)), bell.notice(77), flush=True)
print(notice.wait(60), flush=True)
"""


@pytest.mark.skipif(room._form().__class__ is room._Condition, reason="no futex")
@pytest.mark.parametrize("landed", [True, False])
def test_another_process_hears_before_and_of_the_outcome(tmp_path: Path, landed: bool) -> None:
    bell = Bell.beside(tmp_path, create=True)
    assert bell.foretell(3, 4, lambda: RECORDS, 77) == 0, "nobody has asked"
    with subprocess.Popen([sys.executable, "-c", ASKING, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "here\n"
        until = time.monotonic() + SOON_S
        while not (token := bell.foretell(3, 4, lambda: RECORDS, 77)) and time.monotonic() < until:
            time.sleep(0.001)
        assert other.stdout.readline() == "3 4 3 None\n"
        assert bell.notice(77) is None, "one's own is no news"
        herald = bell.herald(4, others=True, token=token)
        assert herald is not None
        herald.tell(landed)
        assert other.stdout.readline() == f"{landed}\n"


def test_what_was_noticed_before_the_bell_was_opened_is_old(tmp_path: Path) -> None:
    """The board outlives a commit that a power cut undoes, or that is not in a copy of the data that is put back."""
    bell = Bell.beside(tmp_path, create=True)
    bell._form.wait(bell._memory, 0, 1_000_000, array("I", [0, 1, 0]), ~room._own & 0xFFFFFFFF, True)
    token = bell.foretell(3, 4, lambda: RECORDS, SEAL)
    notices.settle(bell._memory, token, True)
    bell.close()
    again = Bell.beside(tmp_path, create=True)
    assert notices.outcome(again._memory, token)
    assert again.notice(SEAL) is None
    notices.post(again._memory, 7, 5, 5, RECORDS, SEAL)
    assert again.notice(SEAL) is None, "one's own is no news"
    notices.post(again._memory, 8, 6, 6, RECORDS, SEAL)
    notices._draw()  # as another process does
    found = again.notice(SEAL)
    assert found is not None and found.first == 6


def test_a_commit_of_much_is_not_foretold(tmp_path: Path) -> None:
    bell = Bell.beside(tmp_path, create=True)
    bell._form.wait(bell._memory, 0, 1_000_000, array("I", [0, 1, 0]), ~room._own & 0xFFFFFFFF, True)
    assert bell.foretell(3, 4, lambda: None, 77) == 0


def test_the_file_shows_notices_to_nobody_who_may_not_read_the_data(tmp_path: Path) -> None:
    Bell.beside(tmp_path, create=True).close()
    Bell.beside(tmp_path, create=False, mode=0o100640).close()
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o640
    Bell.beside(tmp_path, create=True, mode=0o100666).close()
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o640
    (tmp_path / NAME).unlink()
    Bell.beside(tmp_path, create=True, mode=0o100600).close()
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
