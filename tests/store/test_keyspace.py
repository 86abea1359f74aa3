"""Keys and entries: semantics, cuts, bounds, reading back; the chosen form against the reference."""

import hashlib
import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import docdb
from docdb import _native
from docdb.errors import CorruptError, DocumentError
from docdb.language.order import invert, order_key
from docdb.language.values import MISSING, Int64, Regex
from docdb.store import codec, geo_entries, keyspace, wildcard_entries
from docdb.store.components import reference_decode_key, reference_split
from docdb.store.keyspace import EntryMaker, EntrySpec, component, decode_key, split_components
from tests.store.values import EDGES, paths, same, shapes, values

ID = order_key("id")
FORMS = [pytest.param(None, id="chosen"), pytest.param(False, id="reference")]


def spec(*fields, **more):
    named = ((field, 1) if isinstance(field, str) else field for field in fields)
    return EntrySpec(7, tuple((tuple(path.split(".")), way) for path, way in named), **more)


def made(fields, document, native, **more):
    """The components of each entry, as values where they can be read back, else as bytes."""
    maker = EntryMaker(spec(*fields, **more), native=native)
    ways = [way for _, way in maker.spec.fields]
    rows = []
    for key, value in maker.entries(ID, codec.encode(document)):
        assert key.startswith(b"\0\0\0\7")
        assert key.endswith(ID)
        assert value[0] == len(ID)
        rows.append(tuple(split_components(key[4 : -len(ID)], ways)[0]))
    return rows


def keys_of(*rows):
    return [tuple(EMPTY if value is EMPTY else order_key(value) for value in row) for row in rows]


EMPTY = b"\x08"
CASES = {
    "scalar": (["a"], {"a": 1}, [(1,)]),
    "missing": (["a"], {"b": 1}, [(None,)]),
    "null": (["a"], {"a": None}, [(None,)]),
    "array": (["a"], {"a": [1, 2]}, [(1,), (2,)]),
    "repeated": (["a"], {"a": [1, 2, 1.0, Decimal(2)]}, [(1,), (2,)]),
    "empty-array": (["a"], {"a": []}, [(EMPTY,)]),
    "array-in-array": (["a"], {"a": [[1, 2], 3, []]}, [([1, 2],), (3,), ([],)]),
    "object": (["a"], {"a": {"b": 1}}, [({"b": 1},)]),
    "nested": (["a.b"], {"a": {"b": 1}}, [(1,)]),
    "below-scalar": (["a.b"], {"a": 5}, [(None,)]),
    "through-array": (["a.b"], {"a": [{"b": 1}, {"b": 2}]}, [(1,), (2,)]),
    "through-array-missing": (["a.b"], {"a": [{"b": 1}, {"c": 2}, 5]}, [(1,), (None,)]),
    "through-empty-array": (["a.b"], {"a": []}, [(None,)]),
    "array-of-arrays": (["a.b"], {"a": [[{"b": 1}]]}, [(None,)]),
    "two-arrays": (["a.b"], {"a": [{"b": [1, 2]}, {"b": []}]}, [(1,), (2,), (EMPTY,)]),
    "place": (["a.0"], {"a": [1, 2]}, [(1,)]),
    "place-absent": (["a.2"], {"a": [1, 2]}, [(None,)]),
    "place-field": (["a.0"], {"a": {"0": 5}}, [(5,)]),
    "place-then-name": (["a.1.b"], {"a": [{"b": 1}, {"b": 2}]}, [(2,)]),
    "place-then-array": (["a.0.b"], {"a": [[{"b": 1}, {"b": 2}]]}, [(1,), (2,)]),
    "place-of-array": (["a.0"], {"a": [[1, 2], 3]}, [(1,), (2,), ([1, 2],)]),
    "leading-zero": (["a.00"], {"a": [1, 2]}, [(None,)]),
    "compound": (["a", "b"], {"a": 1, "b": "x"}, [(1, "x")]),
    "compound-array": (["a", "b"], {"a": [1, 2], "b": "x"}, [(1, "x"), (2, "x")]),
    "shared-prefix": (["a.b", "a.c"], {"a": [{"b": 1, "c": 2}, {"b": 3}]}, [(1, 2), (3, None)]),
    "whole-and-part": (["a", "a.b"], {"a": [{"b": 1}, 2]}, [({"b": 1}, 1), (2, None)]),
    "descending": ([("a", -1), ("b", 1)], {"a": "x\0y", "b": [1, 2]}, [("x\0y", 1), ("x\0y", 2)]),
}


@pytest.mark.parametrize("native", FORMS)
@pytest.mark.parametrize(("fields", "document", "expected"), CASES.values(), ids=CASES.keys())
def test_entries_of_a_document(fields, document, expected, native):
    assert made(fields, document, native) == keys_of(*expected)


@pytest.mark.parametrize("native", FORMS)
@pytest.mark.parametrize(
    ("fields", "document", "first", "second"),
    [
        pytest.param(["a", "b"], {"a": [1], "b": [2]}, "a", "b", id="flat"),
        pytest.param(["a.b", "a.c"], {"a": [{"b": [1], "c": [2]}]}, "a.b", "a.c", id="nested"),
        pytest.param(["a", "b"], {"a": [], "b": []}, "a", "b", id="empty"),
    ],
)
def test_parallel_arrays_are_refused_and_both_named(fields, document, first, second, native):
    with pytest.raises(DocumentError) as caught:
        made(fields, document, native)
    assert caught.value.code == 171
    assert f"[{first}]" in caught.value.message
    assert f"[{second}]" in caught.value.message


@pytest.mark.parametrize("native", FORMS)
def test_a_name_that_is_a_place_too_is_refused(native):
    with pytest.raises(DocumentError) as caught:
        made(["a.0"], {"a": [{"0": 1}]}, native)
    assert (caught.value.code, caught.value.path) == (16746, "a.0")


@pytest.mark.parametrize("native", FORMS)
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({}, [], id="missing"),
        pytest.param({"a": None}, [(None, None)], id="null"),
        pytest.param({"b": 1}, [(None, 1)], id="one-of-two"),
    ],
)
def test_a_sparse_index_has_no_entry_for_what_lacks_all_fields(document, expected, native):
    assert made(["a", "b"], document, native, sparse=True) == keys_of(*expected)


@pytest.mark.parametrize("native", FORMS)
@pytest.mark.parametrize(
    ("document", "multikey"),
    [({"a": 1}, False), ({"a": [1]}, True), ({"a": [1, 2]}, True), ({"a": []}, True), ({}, False)],
    ids=["scalar", "one-element", "two", "empty", "missing"],
)
def test_multikey_entries_are_marked(document, multikey, native):
    rows = EntryMaker(spec("a"), native=native).entries(ID, codec.encode(document))
    assert [keyspace.is_multikey(value) for _, value in rows] == [multikey] * len(rows)
    assert not any(keyspace.is_cut(value) for _, value in rows)


@pytest.mark.parametrize("native", FORMS)
@pytest.mark.parametrize("id_size", [2, 100, 240])
@pytest.mark.parametrize("multikey", [False, True], ids=["single", "multikey"])
def test_long_components_are_cut(native, id_size, multikey):
    text, id_key = "x" * 1_000, order_key("i" * (id_size - 2))
    document = {"a": [text] if multikey else text}
    ((key, value),) = EntryMaker(spec("a"), native=native).entries(id_key, codec.encode(document))
    limit = 511 - 4 - 17 - id_size
    assert key == b"\0\0\0\7" + order_key(text)[:limit] + b"\xff" + id_key
    assert (keyspace.is_cut(value), keyspace.is_multikey(value)) == (True, multikey)


@pytest.mark.parametrize("native", FORMS)
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("size", [*range(500, 520), 5_000])
def test_long_components_beside_an_array_are_those_of_each_entry(native, unique, size):
    long = "é" + "x" * (size - 4)
    document = {"_id": 1, "a": [1, long, {"b": 2}, long, [], 3], "b": long, "c": {"d": [long, None]}, "e": [long]}
    fields = (("b", -1), "a", ("c.d.e", 1), ("b", 1), ("c.d", 1))
    for some in (fields[:2], fields[1::-1], fields[:4:3], fields[:3:2], (*fields[3:], ("_id", -1))):
        index = spec(*some, unique=unique)
        rows, multikey = keyspace.rows_of(index.fields, document)
        plain = [
            entry(
                [component(value, way) for value, (_, way) in zip(row, index.fields, strict=True)],
                row,
                multikey,
                unique,
            )
            for row in rows
        ]
        found = EntryMaker(index, native=native).entries(ID, codec.encode(document))
        assert sorted(found) == sorted({key: (key, value) for key, value in reversed(plain)}.values())


def entry(parts, row, multikey, unique):
    """Return an entry of index 7 as ARCHITECTURE.md has it."""
    joined, kinds = b"".join(parts), [keyspace.type_byte(value, None) | 0x10 * multikey for value in row]
    limit = 250 if unique else 511 - 4 - 17 - len(ID)
    if len(joined) > limit:
        told = [p if len(p) <= 511 else b"\xff" + hashlib.blake2b(p, digest_size=32).digest() for p in parts]
        digest = hashlib.blake2b(b"".join(told), digest_size=16).digest() if unique else b""
        joined, kinds[0] = joined[:limit] + b"\xff" + digest, 0x1F if multikey else 0xFF
    return b"\0\0\0\7" + joined + ID, bytes([len(ID), *kinds])


class Hashing:
    """Stands for BLAKE2b and counts the bytes it is given."""

    def __init__(self):
        self.bytes = 0

    def __call__(self, data, *, digest_size):
        self.bytes += len(data)
        return hashlib.blake2b(data, digest_size=digest_size)


@pytest.mark.parametrize("native", FORMS)
@pytest.mark.parametrize(
    "fields", [("list", "text"), ("text", "list"), ("items.n", "text"), ("items.n", "items.t", "text")]
)
def test_a_long_text_beside_an_array_is_hashed_once(native, fields, monkeypatch):
    many, long = 1_000, "x" * 100_000
    document = {"list": list(range(many)), "items": [{"n": n, "t": f"{n}" * 200} for n in range(many)], "text": long}
    hashing = Hashing()
    for module in filter(None, (keyspace, _native.entries)):
        monkeypatch.setattr(module, "blake2b", hashing)
    made = EntryMaker(spec(*fields, unique=True), native=native).entries(ID, codec.encode(document))
    assert len({keyspace.unique_prefix(key, value) for key, value in made}) == many
    assert len(long) < hashing.bytes < len(long) + many * 2_000


@pytest.mark.parametrize(
    ("module", "keys"),
    [
        (geo_entries, [("place", "2dsphere"), ("list", 1), ("text", 1)]),
        (wildcard_entries, [("wild.$**", 1), ("text", 1)]),
    ],
    ids=["geographic", "wildcard"],
)
def test_entries_of_other_indexes_carry_no_more_of_a_long_text_than_a_key_holds(module, keys, monkeypatch):
    carried = []

    def joined(number, id_key, parts, types, **how):
        carried.append(sum(map(len, parts)))
        return keyspace.joined_entry(number, id_key, parts, types, **how)

    monkeypatch.setattr(module, "joined_entry", joined)
    document = {"text": "x" * 100_000, "list": list(range(100)), "wild": {f"n{n}": n for n in range(100)}}
    with docdb.open(":memory:") as db:
        db["a"].create_index(keys)
        db["a"].insert_one({"_id": 1, "place": {"type": "Point", "coordinates": [1, 2]}, **document})
    assert len(carried) >= 100
    assert max(carried) < 1_000


@pytest.mark.parametrize("native", FORMS)
def test_cut_entries_of_a_unique_index_are_alike_whatever_the_id(native):
    maker = EntryMaker(spec("a", unique=True), native=native)
    data = codec.encode({"a": "x" * 260})
    prefixes = set()
    for size in (1, 100, 238):
        ((key, value),) = maker.entries(order_key("i" * size), data)
        assert len(key) <= 511
        prefixes.add(keyspace.unique_prefix(key, value))
    whole = order_key("x" * 260)
    assert prefixes == {b"\0\0\0\7" + whole[:250] + b"\xff" + hashlib.blake2b(whole, digest_size=16).digest()}


@pytest.mark.parametrize("native", FORMS)
@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_is_exact(native, unique, over):
    limit = keyspace.cut_limit(len(ID), unique)
    ((key, value),) = EntryMaker(spec("a", unique=unique), native=native).entries(
        ID, codec.encode({"a": "x" * (limit - 2 + over)})
    )
    assert keyspace.is_cut(value) == bool(over)
    assert len(key) <= 511


def test_bounds_hold_for_cut_entries():
    maker = EntryMaker(spec("a"))
    text = "x" * 400
    bound = component(text)
    low, high = keyspace.entry_range(7, keyspace.low_bound(bound), keyspace.high_bound(bound + b"\0"))
    for size in (1, 238):
        ((key, _),) = maker.entries(order_key("i" * size), codec.encode({"a": text}))
        assert low <= key < high


@pytest.mark.parametrize("native", FORMS)
def test_an_entry_gives_its_values_back(native):
    maker = EntryMaker(spec(("a", -1), "b", "c"), native=native)
    ((key, value),) = maker.entries(ID, codec.encode({"a": -0.0, "b": Int64(7)}))
    assert same(maker.values(key, value), [-0.0, Int64(7), MISSING])


@pytest.mark.parametrize(
    "value", [Decimal("1.0"), {"a": 1}, Regex("a"), "x" * 600], ids=["decimal", "object", "regex", "cut"]
)
def test_an_entry_that_does_not_hold_its_values_says_so(value):
    maker = EntryMaker(spec("a"))
    ((key, kinds),) = maker.entries(ID, codec.encode({"a": value}))
    assert maker.values(key, kinds) is None


class Folding:
    """A collation that ignores case."""

    def order_key(self, value):
        return order_key(value.lower()) if isinstance(value, str) else order_key(value)


def test_a_collated_index_holds_collation_keys_and_does_not_give_text_back():
    maker = EntryMaker(spec("a", collation=Folding()))
    ((key, value),) = maker.entries(ID, codec.encode({"a": "ÄB"}))
    assert key == b"\0\0\0\7" + order_key("äb") + ID
    assert maker.values(key, value) is None


@settings(max_examples=400, deadline=None)
@given(
    shapes, st.lists(st.tuples(paths, st.sampled_from([1, -1])), min_size=1, max_size=3), st.booleans(), st.booleans()
)
def test_the_kernel_gives_the_reference_s_entries(document, fields, unique, sparse):
    assert outcome(document, fields, unique, sparse, None) == outcome(document, fields, unique, sparse, False)


def outcome(document, fields, unique, sparse, native):
    maker = EntryMaker(EntrySpec(300, tuple(fields), unique=unique, sparse=sparse), native=native)
    data = codec.encode(document)
    try:
        rows = maker.entries(ID, data)
    except DocumentError as error:
        return str(error), error.code
    assert maker.entries_many([ID, ID], [data, data]) == [rows, rows]
    return rows


@pytest.mark.parametrize("value", EDGES, ids=lambda v: f"{type(v).__name__}-{v!r:.30}")
@pytest.mark.parametrize("way", [1, -1], ids=["up", "down"])
def test_components_split_and_decode(value, way):
    check_component(value, way)


@settings(max_examples=300, deadline=None)
@given(values, st.sampled_from([1, -1]))
def test_generated_components_split_and_decode(value, way):
    check_component(value, way)


def check_component(value, way):
    key = component(value, way)
    plain = order_key(value)
    assert key == (plain if way > 0 else invert(plain))
    assert split_components(key * 2 + b"rest", [way, way]) == ([plain, plain], b"rest")
    assert reference_split(key * 2 + b"rest", [way, way]) == ([plain, plain], b"rest")
    kind = keyspace.type_byte(value, None)
    readable = kind not in (keyspace.DECIMAL, keyspace.NOT_COVERED)
    for decode in (decode_key, reference_decode_key):
        assert not readable or same(decode(plain, kind), value)


@pytest.mark.parametrize("decode", [decode_key, reference_decode_key], ids=["chosen", "reference"])
@pytest.mark.parametrize(
    ("key", "kind"),
    [(b"", 0), (b"\x20", 1), (order_key(1.5), 1), (order_key(2**40), 1), (order_key(1), 0), (order_key(1), 6), (order_key("a"), 1), (b"\x30\xff\0", 0),
     (b"\x80\x02", 0), (b"\x99", 0), (order_key([1]), 0), (order_key(1) + b"x", 1), (order_key(Decimal("9007199254740993.5")), 2)],
)  # fmt: skip
def test_damaged_components_are_named(decode, key, kind):
    with pytest.raises(CorruptError):
        decode(key, kind)


def test_random_damage_never_raises_anything_else():
    chance = random.Random(7)
    document = {"a": [{"b": "x\0y", "c": 2**60 + 1}, {"b": Decimal("1.5"), "c": Regex("a", "i")}], "d": b"xy"}
    data = codec.encode(document)
    maker = EntryMaker(spec("a.b", ("a.c", -1), "d"))
    whole = b"".join(key[4 : -len(ID)] for key, _ in maker.entries(ID, data))
    for _ in range(4_000):
        survives(lambda hurt: maker.entries(ID, hurt), mutated(chance, data))
        hurt = mutated(chance, whole)
        survives(lambda key: split_components(key, [1, -1, 1, 1, -1, 1]), hurt)
        survives(lambda key: decode_key(key, chance.randrange(8)), hurt)
        survives(lambda key: reference_decode_key(key, chance.randrange(8)), hurt[: chance.randrange(40)])


def mutated(chance, data):
    hurt = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        hurt[chance.randrange(len(hurt))] = chance.randrange(256)
    return bytes(hurt[: chance.randrange(1, len(hurt) + 1)])


def survives(call, data):
    try:
        call(data)
    except (CorruptError, DocumentError):
        return


def test_keys_of_the_spaces():
    assert keyspace.document_key(1, b"k") == b"\0\0\0\1k"
    assert keyspace.collection_range(1) == (b"\0\0\0\1", b"\0\0\0\2")
    assert keyspace.after_prefix(b"a\xff\xff") == b"b"
    assert keyspace.entry_range(1, b"a", None) == (b"\0\0\0\1a", b"\0\0\0\2")
    assert keyspace.change_key(1, keyspace.END_OF_COMMIT) == b"\0\0\0\0\0\0\0\1\xff\xff\xff\xff"
    assert keyspace.collection_definition_key("é") == b"c:\xc3\xa9"
    assert (keyspace.collection_counters_key(2), keyspace.index_counters_key(2)) == (b"n:\0\0\0\2", b"i:\0\0\0\2")


@pytest.mark.skipif(not _native.AVAILABLE, reason="runs on the reference forms alone")
def test_the_kernel_is_really_used():
    assert EntryMaker(spec("a"))._kernel is not None
