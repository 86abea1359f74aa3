"""Damaged bytes for the kernels: stored documents, order keys, pages of LMDB, cheap enough for thousands a second.

What lives here: functions of a random.Random, each giving a batch. What it must not know: what the bytes are for.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import Any, Final
from uuid import UUID

from docdb.language.order import order_key
from docdb.language.values import Binary, Int64, ObjectId
from docdb.store import codec
from tests.fuzz import inputs

BATCH: Final = 64
PAGE: Final = 512  # of the trees made here; LMDB's own are larger
ROOT: Final = 2
DEPTH: Final = 2

# First bytes that say more than they are: lengths, arrays, maps, extensions, the ends of the short forms.
_HEADS: Final = bytes(
    [*range(0xC0, 0xE0), 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xC7, 0xC8, 0xD8, 0x80, 0x81, 0x82, 0x8F, 0x90, 0x91, 0x9F,
     0xA0, 0xA1, 0xA3, 0xBF, 0xC1, 0x00, 0x7F, 0xFF]
)  # fmt: skip
_LENGTHS: Final = (
    b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff", b"\x00\x00", b"\x00", b"\x00\x01\x00\x00", b"\x00\x00\x00\x41",
)  # fmt: skip
# Random bytes of which half are heads.
_BIASED: Final = bytes(byte if byte & 1 else _HEADS[byte // 2 % len(_HEADS)] for byte in range(256))
_WORDS: Final = ("red", "Running", "the", "it's", "a_b", "Ärger", "café", "1999", "X" * 70)
DATE: Final = dt.datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=dt.UTC)


def damaged(chance: Random, data: bytes, others: Sequence[bytes]) -> bytearray:
    """Return bytes with up to six changes: heads, lengths, bits, cuts, bytes and pieces of others put in or taken out."""
    broken = bytearray(data)
    for _ in range(int(chance.random() ** 2 * 7)):
        bits = chance.getrandbits(64)
        size = len(broken)
        at, number = (bits >> 8 & 0xFFFFFF) % (size + 1), bits >> 32
        mode = bits & 7
        if mode < 2 and at < size:
            broken[at] = _HEADS[number % len(_HEADS)]
        elif mode == 2 and at < size:
            broken[at] ^= 1 << (number & 7)
        elif mode == 3:
            del broken[at:]
        elif mode == 4:
            broken[at:at] = (number & 0xFFFFFFFF).to_bytes(4, "big")[: 1 + (number & 3)]
        elif mode == 5:
            del broken[at : at + 1 + (number & 7)]
        elif mode == 6:
            length = _LENGTHS[number & 7]
            broken[at : at + len(length)] = length
        elif mode == 7:
            piece = others[number % len(others)]
            start = (number >> 8) % (len(piece) + 1)
            broken[at:at] = piece[start : start + (number >> 24 & 63)]
    return broken


def documents(chance: Random) -> list[bytearray]:
    """Return a batch of damaged documents; one in sixteen is random from the start."""
    pool = stored_documents()
    count = len(pool)
    made = [
        damaged(chance, pool[int(chance.random() * count)], pool) if number & 15 else noise(chance)
        for number in range(BATCH)
    ]
    if chance.random() < 0.01:
        made[0] = damaged(chance, chance.choice(large_documents()), pool)
    return made


def few_documents(chance: Random) -> list[bytearray]:
    """Return a batch for a door that is slow."""
    return documents(chance)[:4]


def keys(chance: Random) -> list[bytearray]:
    """Return a batch of damaged order keys."""
    pool = order_keys()
    count = len(pool)
    return [damaged(chance, pool[int(chance.random() * count)], pool) for _ in range(BATCH)]


def pages(chance: Random) -> list[bytearray]:
    """Return a batch of damaged trees of LMDB's pages."""
    whole = tree()
    made = []
    for _ in range(BATCH):
        broken = bytearray(whole)
        for _ in range(int(chance.random() ** 2 * 12)):
            bits = chance.getrandbits(64)
            page = (bits & 0xFFFF) % (len(whole) // PAGE) * PAGE
            # Heads of pages and offsets half the time, else anywhere: nodes lie at the end.
            at = page + (8 + (bits >> 16 & 63) if bits >> 32 & 1 else (bits >> 16 & 0xFFFF) % PAGE)
            broken[at : at + 2] = (bits >> 40 & 0xFFFF).to_bytes(2, "little")
        if chance.random() < 0.1:
            del broken[int(chance.random() * len(broken)) :]
        made.append(broken)
    return made


def noise(chance: Random) -> bytearray:
    """Return random bytes, mostly of what msgpack gives a meaning."""
    return bytearray(chance.randbytes(int(chance.random() ** 3 * 200))).translate(_BIASED)


@cache
def stored_documents() -> list[bytes]:
    """Return sound documents of many shapes."""
    chance = Random(11)
    deep: Any = 1
    for level in range(95):
        deep = [deep] if level & 1 else {"a": deep}
    whole = [codec.encode(inputs.document(chance)) for _ in range(400)]
    whole += [codec.encode(plain(chance, number)) for number in range(200)]
    special: list[dict[str, Any]] = [
        {"_id": 1},
        {"_id": 2, "a": deep},
        {"_id": 3, **{f"f{n}": n for n in range(70)}},
        {"_id": 4, "a": list(range(40)), "b": [[n, {"a": n}] for n in range(20)]},
        {"_id": 5, "a": [{"b": [{"c": n, "0": [n]}]} for n in range(17)]},
        {"_id": 6, "text": "the red running reds of a café, it's 日本語 " * 8, "a": "x" * 300},
        {"_id": 7, "a": b"\0" * 300, "b": "\0" * 40, "c": [[], [[]], [[[]]]]},
        {"_id": "x" * 200, "a": {"b": {"c": {"d": [1, 2.5, None]}}}},
        {"_id": 8, "language": "german", "text": "Äpfel und Birnen", "b": "red"},
        {"_id": 9, "language": "none", "text": ["one", "two"]},
        {"_id": 10, "a": [[1, [2, [3, {"b": [{"0": 1}]}]]], {"0": {"0": {"b": 5}}}], "0": [{"a": 1}]},
        {"_id": 11, "a": UUID(int=7), "b": ObjectId("64b7f0c2a1b2c3d4e5f60718"), "c": Binary(b"abc", 3)},
        {"_id": 12, "a": -(2**63), "b": [-1, -(2**62), 2**63 - 1], "c": Int64(-5)},
    ]
    return whole + [codec.encode(document) for document in special]


@cache
def large_documents() -> list[bytes]:
    """Return documents with more elements, and more bytes, than the short forms hold."""
    return [
        codec.encode({"_id": 1, "a": list(range(66_000)), "b": "x" * 3_000}),
        codec.encode({"_id": 1, "a": "é" * 40_000, "c": b"\0" * 70_000}),
    ]


def plain(chance: Random, number: int) -> dict[str, Any]:
    """Return a document as applications have them, all with the same names."""
    return {
        "_id": number,
        "a": chance.randrange(10),
        "b": chance.choice(["red", "green", "the blue one", None]),
        "c": chance.random() * 100,
        "date": DATE - dt.timedelta(hours=chance.randrange(100_000)),
        "items": [{"a": chance.randrange(3), "b": "x" * n} for n in range(chance.randrange(4))],
        "nested": {"a": {"b": chance.randrange(5), "c": [1, 2, chance.randrange(9)]}},
        "o": ObjectId(chance.randbytes(12)),
        "text": " ".join(chance.choice(_WORDS) + chance.choice(["", "s", chance.randbytes(2).hex()]) for _ in range(6)),
        "u": UUID(bytes=chance.randbytes(16)),
        "x": chance.choice(["🍎", "日本", "\ue000", "a"]) * 3,
    }


@cache
def order_keys() -> list[bytes]:
    """Return sound order keys, alone and one behind the other, some of them descending."""
    chance = Random(12)
    single = [order_key(inputs.stored(chance)) for _ in range(300)]
    turned = [bytes(byte ^ 0xFF for byte in key) for key in single[:100]]
    chains = [b"".join(chance.sample(single + turned, 3)) for _ in range(100)]
    return [key for key in [*single, *turned, *chains] if len(key) < 2000]


@cache
def tree() -> bytes:
    """Return the pages of a small B-tree of depth 2, as LMDB writes them: a branch, six leaves, values with pages of their own."""
    pairs = [(b"k%03d" % n, b"v" * (n % 23)) for n in range(60)]
    groups = [pairs[at : at + 10] for at in range(0, len(pairs), 10)]
    overflow = ROOT + 1 + len(groups)
    leaves = []
    for place, group in enumerate(groups):
        nodes = [
            struct.pack("<IHH", PAGE + 100, 1, len(key)) + key + struct.pack("<Q", overflow)
            if number == 3
            else struct.pack("<IHH", len(value), 0, len(key)) + key + value
            for number, (key, value) in enumerate(group)
        ]
        leaves.append(_page(ROOT + 1 + place, 2, nodes))
    branch = _page(
        ROOT,
        1,
        [
            struct.pack("<IHH", ROOT + 1 + place, 0, len(group[0][0]) * (place > 0)) + group[0][0] * (place > 0)
            for place, group in enumerate(groups)
        ],
    )
    big = (struct.pack("<QHHI", overflow, 0, 4, 2) + b"w" * (PAGE + 100)).ljust(2 * PAGE, b"\0")
    return bytes(2 * PAGE) + branch + b"".join(leaves) + big


def _page(number: int, flags: int, nodes: list[bytes]) -> bytes:
    offsets, at = [], PAGE
    for node in nodes:
        at -= len(node) + (len(node) & 1)
        offsets.append(at)
    page = bytearray(PAGE)
    lower = 16 + 2 * len(nodes)
    page[:lower] = struct.pack(f"<QHHHH{len(nodes)}H", number, 0, flags, lower, at, *offsets)
    for node, at in zip(nodes, offsets, strict=True):
        page[at : at + len(node)] = node
    return bytes(page)
