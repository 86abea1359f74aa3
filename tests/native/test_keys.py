"""The kernel's order keys against ``language/order.py``."""

import random

import pytest
from hypothesis import given, settings

from docdb import _native
from docdb.language.order import order_key
from docdb.language.values import MISSING
from docdb.store import codec
from tests.store.values import EDGES, values

pytestmark = pytest.mark.skipif(
    not _native.AVAILABLE, reason="compares the kernel, which is switched off or was not built"
)


@pytest.mark.parametrize("value", EDGES, ids=lambda v: f"{type(v).__name__}-{v!r:.30}")
def test_every_edge_has_the_reference_s_key(value):
    assert _native.keys.order_key(codec.encode_value(value)) == order_key(value)
    assert _native.codec.order_key_of_value(value) == order_key(value)


@settings(max_examples=500, deadline=None)
@given(values)
def test_generated_values_have_the_reference_s_key(value):
    assert _native.keys.order_key(codec.encode_value(value)) == order_key(value)
    assert _native.codec.order_key_of_value(value) == order_key(value)


def test_integers_next_to_powers_of_two_have_the_reference_s_key():
    chance = random.Random(3)
    near = {sign * (2**bits + step) for bits in range(50, 64) for step in range(-3, 4) for sign in (1, -1)}
    near |= {chance.randrange(-(2**63), 2**63) for _ in range(2_000)}
    near |= {sign * 10**digits * chance.randrange(1, 100) for digits in range(17) for sign in (1, -1)}
    for value in (value for value in near if -(2**63) <= value < 2**63):
        assert _native.codec.order_key_of_value(value) == order_key(value)


def test_missing_counts_as_null():
    assert _native.codec.order_key_of_value(MISSING) == order_key(None)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01\x01", b"\xc1", b"\x91", b"\x91" * 101 + b"\1", b"\x81\x01\x01", b"\xd4\x63\x00", b"\xd5\x03\x01x"],
)
def test_damage_has_no_key(data):
    assert _native.keys.order_key(data) is None


def test_random_damage_is_survived():
    chance = random.Random(11)
    data = codec.encode_value([value for value in EDGES if len(repr(value)) < 100])
    for _ in range(5_000):
        hurt = bytearray(data[: chance.randrange(1, len(data) + 1)])
        for _ in range(chance.randrange(4)):
            hurt[chance.randrange(len(hurt))] = chance.randrange(256)
        _native.keys.order_key(bytes(hurt))


def test_hostile_depth_is_survived():
    for head in (b"\x91", b"\x81\xa1a", b"\xdd\xff\xff\xff\xff", b"\xdd\0\1\0\0"):
        _native.keys.order_key(head * 200_000)
        _native.keys.split_components(b"\x50" * 200_000, [1])
