"""The compiled program against the reference: the same verdict wherever it gives one, and never a crash."""

from __future__ import annotations

import datetime as dt
import math
import struct
from decimal import Decimal
from uuid import UUID

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docdb.errors import CorruptError
from docdb.language import tree
from docdb.language.matching import matcher
from docdb.language.order import order_key
from docdb.language.programs import compile_program, program_form
from docdb.language.values import TYPE_NAMES, Binary, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
kernels = pytest.mark.skipif(compile_program(tree.TRUE) is None, reason="the kernels are not built or switched off")


def stored(value):
    """The stored form of a document (ARCHITECTURE.md, Documents), written down a second time."""
    return msgpack.packb(packable(value), use_bin_type=True)


def packable(value):
    if isinstance(value, dict):
        return {name: packable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [packable(item) for item in value]
    form = EXTENSIONS.get(type(value))
    return value if form is None else msgpack.ExtType(*form(value))


def decimal_form(value):
    text = str(value).encode()
    return 3, bytes((len(text),)) + text + order_key(value)


EXTENSIONS = {
    dt.datetime: lambda v: (1, struct.pack(">q", (v - EPOCH) // dt.timedelta(microseconds=1))),
    ObjectId: lambda v: (2, v.binary),
    Decimal: decimal_form,
    UUID: lambda v: (4, v.bytes),
    Regex: lambda v: (5, f"{v.pattern}\0{v.flags}".encode()),
    Int64: lambda v: (6, struct.pack(">q", v)),
    Timestamp: lambda v: (7, struct.pack(">II", v.time, v.inc)),
    MinKey: lambda v: (8, b"\0"),
    MaxKey: lambda v: (9, b"\0"),
    Binary: lambda v: (10, bytes((v.subtype,)) + bytes(v)),
}

NUMBERS = [
    0, 1, -1, 2, 5, 30, 255, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**62 + 1,
    2**63 - 1, 2**63 - 1024, -(2**63), -(2**63) + 1, Int64(1), Int64(5), 0.0, -0.0, 1.0, 1.5, -1.5, 5.0, 2.0**53,
    2.0**63, -(2.0**63), 1e300, -1e300, 5e-324, math.inf, -math.inf, math.nan, Decimal(0), Decimal("-0"), Decimal(1),
    Decimal("1.5"), Decimal("0.1"), Decimal("-0.1"), Decimal("3.7"), Decimal("-3.7"), Decimal(2**53 + 1),
    Decimal(2**63), Decimal(2**63 - 1), Decimal("1E+30"), Decimal("9007199254740993.5"),
    Decimal("-9007199254740993.5"), Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity"), Decimal(-(2**63)),
    Decimal(-(2**63) - 1), Decimal("1E-30"), 0.1, 10**18 + 1, -(10**18) - 1, Decimal(10**18 + 1),
]  # fmt: skip
OTHERS = [
    None, True, False, "", "a", "b", "ab", "abc", "xab\n", "ab\n", "a\0b", "a\0", "é", "\U0001f600", b"", b"a",
    b"\x05\x80", Binary(b"a", 5), Binary(b"\x06", 2), UUID(int=5), ObjectId("0" * 24), ObjectId("0" * 23 + "1"), EPOCH,
    EPOCH + dt.timedelta(microseconds=1), EPOCH - dt.timedelta(days=9), Timestamp(0, 1), Timestamp(1, 0), Regex("ab"),
    Regex("ab", "i"), Regex("a"), MinKey(), MaxKey(),
]  # fmt: skip
NAMES = ["a", "b", "0", "1", "01", "c"]

scalars = st.sampled_from(NUMBERS + OTHERS)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from(NAMES), values, max_size=4)
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple)
PATTERNS = [
    ("ab", ""), ("^ab", ""), ("ab$", ""), ("^ab$", ""), ("^a.*", ""), ("", ""), ("^", ""), ("ab", "s"), ("a\\b", ""),
    ("AB", "i"),
]  # fmt: skip
ROOM = {"~": "x" * 60}  # behind what is asked for: the kernel reads words where there is room
MODES = ["all_set", "all_clear", "any_set", "any_clear"]


def leaves(path):
    bits = st.lists(st.sampled_from([0, 1, 2, 7, 9, 52, 62, 63, 64, 100]), max_size=3).map(tuple)
    return st.one_of(
        st.builds(tree.Compare, path, st.sampled_from(["eq", "gt", "gte", "lt", "lte"]), values),
        st.builds(tree.In, path, st.lists(values, max_size=4).map(tuple)),
        st.builds(tree.In, path, st.lists(scalars, max_size=40).map(tuple), st.just((tree.Pattern((), "^a", ""),))),
        st.builds(tree.Exists, path),
        st.builds(tree.TypeIs, path, st.frozensets(st.sampled_from(sorted(TYPE_NAMES)), max_size=3)),
        st.builds(tree.Size, path, st.integers(0, 3)),
        st.builds(tree.Mod, path, st.sampled_from([1, 2, 3, -2, -1, 7, 2**62]), st.integers(-2, 2)),
        st.builds(tree.Bits, path, st.sampled_from(MODES), bits),
        path.flatmap(lambda p: st.sampled_from(PATTERNS).map(lambda pattern: tree.Pattern(p, *pattern))),
    )


def combined(inner):
    parts = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(st.builds(tree.And, parts), st.builds(tree.Or, parts), st.builds(tree.Not, inner))


by_value = st.recursive(leaves(st.just(())), combined, max_leaves=3)
by_object = st.recursive(leaves(paths), combined, max_leaves=3)
elements = st.one_of(
    st.builds(tree.ElemMatch, paths, by_object), st.builds(tree.ElemMatch, paths, by_value, values=st.just(True))
)
nodes = st.recursive(leaves(paths) | elements, combined, max_leaves=5)


def check(node, document):
    program = compile_program(node)
    expected = matcher(node)(document)
    verdict = 2 if program is None else program.match(stored(document))
    assert verdict in (int(expected), 2), (node, document)
    assert not (program is not None and program.exact and verdict == 2)


@kernels
@settings(max_examples=1500, deadline=None)
@given(nodes, documents)
def test_program_agrees_with_reference(node, document):
    check(node, document)
    check(node, document | ROOM)


@kernels
@settings(max_examples=1500, deadline=None)
@given(leaves(st.just(("a",))), values)
def test_leaf_agrees_with_reference(node, value):
    check(node, {"a": value})
    check(node, {"a": value} | ROOM)


@kernels
@pytest.mark.parametrize("op", ["eq", "gt", "gte", "lt", "lte"])
def test_every_pair_of_values(op):
    pairs = {(repr(value), n): stored({"a": value}) for n, value in enumerate(NUMBERS + OTHERS)}
    assert len(pairs) == len(NUMBERS + OTHERS)
    for operand in NUMBERS + OTHERS:
        for wrap in (lambda v: v, lambda v: {"x": v}):
            node = tree.Compare(("a",), op, wrap(operand))
            program, reference = compile_program(node), matcher(node)
            assert program.exact
            documents = [{"a": wrap(value)} | more for value in NUMBERS + OTHERS for more in ({}, ROOM)]
            found = program.select([stored(document) for document in documents])
            assert found == [int(reference(document)) for document in documents], operand


@kernels
def test_names_of_all_lengths():
    names = [letter * size for size in range(1, 40) for letter in ("n", "m")] + [
        "n" * size + "m" for size in range(1, 40)
    ]
    documents = [{name: 1, "other": 2} | ROOM for name in names]
    for name in names:
        assert compile_program(tree.Compare((name,), "eq", 1)).select(stored(d) for d in documents) == [
            int(name in d) for d in documents
        ]


@kernels
def test_texts_of_all_lengths():
    texts = ["t" * size + end for size in range(40) for end in ("", "u")]
    for more in ({}, ROOM):
        packed = [stored({"a": text} | more) for text in texts]
        for text in texts:
            assert compile_program(tree.Compare(("a",), "eq", text)).select(packed) == [
                int(text == other) for other in texts
            ]


@kernels
@settings(max_examples=300, deadline=None)
@given(nodes, documents, st.data())
def test_damaged_bytes_never_crash(node, document, data):
    packed = stored(document)
    program = compile_program(node)
    cut = packed[: data.draw(st.integers(0, len(packed)))]
    at = data.draw(st.integers(0, len(packed) - 1))
    changed = packed[:at] + bytes((data.draw(st.integers(0, 255)),)) + packed[at + 1 :]
    for damaged in (cut, changed) if program is not None else ():
        try:
            assert program.match(damaged) in (0, 1, 2)
        except CorruptError:
            continue


@kernels
def test_hostile_nesting_is_refused():
    deep = b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0"
    with pytest.raises(CorruptError):
        compile_program(tree.Compare(("a",), "eq", nest(120))).match(deep)


def nest(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@kernels
@pytest.mark.parametrize(
    "documents", [[b""], [b"\x81\xa1a\x01", b"\x81\xa1a"], [b"\xc1"]], ids=["empty", "cut", "no map"]
)
def test_select_refuses_damage(documents):
    with pytest.raises(CorruptError, match="damaged"):
        compile_program(tree.Exists(("a",))).select(documents)


@kernels
def test_unknown_parts_spoil_only_what_hangs_on_them():
    unknown = tree.Expr(lambda document: True)
    known = tree.Compare(("a",), "eq", 1)
    both, either = compile_program(tree.And((unknown, known))), compile_program(tree.Or((unknown, known)))
    assert (both.exact, either.exact) == (False, False)
    assert both.select([stored({"a": 1}), stored({"a": 2})]) == [2, 0]
    assert either.select([stored({"a": 1}), stored({"a": 2})]) == [1, 2]


@kernels
def test_more_fields_than_one_walk_collects():
    node = tree.And(tuple(tree.Compare((f"f{n}",), "eq", n) for n in range(40)))
    document = {f"f{n}": n for n in range(39, -1, -1)}
    program = compile_program(node)
    assert program.match(stored(document)) == 1
    assert program.match(stored(document | {"f39": 0})) == 0
    assert program.match(stored(document | {"f0": 1})) == 0


@kernels
@pytest.mark.parametrize("count", [16, 17, 18, 40])
def test_a_field_beyond_those_is_looked_for_in_the_document(count):
    document = {f"f{i}": i for i in range(count)}
    program = compile_program(tree.And(tuple(tree.Compare((name,), "gte", i) for name, i in document.items())))
    assert program.select([stored(document), stored(document | {f"f{count - 1}": 0})]) == [1, 0]


class Collation:
    """Stands in for language/collation.py."""

    def order_key(self, value):
        return order_key(value)


UNKNOWNS = {
    "expression": tree.Expr(lambda document: True),
    "schema": tree.Schema(lambda document: True),
    "collation": tree.Compare(("a",), "eq", "x", Collation()),
    "collated list": tree.In(("a",), (1, "x"), (), Collation()),
    "pattern with flag": tree.Pattern(("a",), "x", "i"),
    "pattern with alternatives": tree.Pattern(("a",), "x|y", ""),
    "not of an unknown": tree.Not(tree.Pattern(("a",), "x|y", "")),
    "only unknowns": tree.And((tree.Pattern(("a",), "x|y", ""), tree.Pattern(("b",), "x|y", ""))),
    "very long path": tree.Exists(("a",) * 101),
}


@pytest.mark.parametrize("node", UNKNOWNS.values(), ids=UNKNOWNS)
def test_nodes_without_kernel_form(node):
    assert program_form(node) == ("unknown", {})
    assert compile_program(node) is None


def test_cheap_parts_stand_first():
    pattern, exists = tree.Pattern(("a",), "x", ""), tree.Exists(("b",))
    op, fields = program_form(tree.And((pattern, tree.And((exists, tree.Compare(("c",), "eq", 1))))))
    assert (op, [child[0] for child in fields["children"]]) == ("and", ["exists", "compare", "pattern"])


def test_collation_leaves_numbers_alone():
    assert program_form(tree.Compare(("a",), "eq", 1, Collation()))[0] == "compare"
