"""$lookup, $unwind and $group over stored documents against the stages themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from docdb import _native
from docdb.errors import CorruptError, QueryError
from docdb.language import filters, matching
from docdb.language.values import Regex
from docdb.pipeline.grouping import Grouping, compile_grouping
from docdb.pipeline.joining import plain_join
from docdb.store import codec
from tests.pipeline.fake import ListContext, run

pytestmark = pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")

SCALARS = st.sampled_from([0, 1, 1.0, Decimal(1), True, None, "a", "b", float("nan"), -0.0, {"b": 1}, Regex("a", "")])
RARE = st.sampled_from([[1], [], [{"b": 1}], Decimal("1.5")])
VALUES = st.one_of(SCALARS, SCALARS, SCALARS, SCALARS, RARE)
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "o"]), VALUES, max_size=3), max_size=20)
GROUPS: list[dict[str, Any]] = [
    {"_id": "$o.b", "n": {"$sum": 1}, "s": {"$sum": "$a"}, "m": {"$avg": "$o._id"}},
    {"_id": {"b": "$b", "o": "$o.b"}, "f": {"$first": "$o"}, "l": {"$last": "$o._id"}},
    {"_id": None, "low": {"$min": "$o.a"}, "high": {"$max": "$o"}, "s": {"$sum": "$o.b.b"}},
    {"_id": {"$mod": ["$o._id", 3]}, "n": {"$count": {}}},
    {"_id": "$o"},
]
UNWINDS: list[Any] = ["$o", {"path": "$o", "preserveNullAndEmptyArrays": True}]


def lookup(local: str, foreign: str, target: str = "o") -> dict[str, Any]:
    return {"from": "other", "localField": local, "foreignField": foreign, "as": target}


def compiled(spec: dict[str, Any], unwind: Any, joined: dict[str, Any]) -> Grouping:
    made = compile_grouping(spec, unwind, plain_join(joined, unwind))
    assert made is not None
    return made


class Foreign:
    """The other collection, as stored bytes in batches of three; ``asked`` are the filters."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self._documents = documents
        self.asked: list[Any] = []

    def __call__(self, collection: str, filter: Mapping[str, Any]) -> Iterator[list[bytes]]:
        assert collection == "other"
        self.asked.append(filter)
        test = matching.matcher(filters.parse(dict(filter)))
        found = [codec.encode(document) for document in self._documents if test(document)]
        return (found[at : at + 3] for at in range(0, len(found), 3))


def grouped(
    grouping: Grouping, documents: list[dict[str, Any]], foreign: Foreign, memory_limit: int = 1 << 30, parts: int = 2
) -> list[dict[str, Any]] | None:
    stored = [codec.encode(document) for document in documents]
    size = len(stored) // parts + 1
    batches = [stored[at : at + size] for at in range(0, len(stored), size)]
    return grouping.run(lambda take: ([take(data) for data in batch] for batch in batches), memory_limit, foreign)


def numbered(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"_id": n, **document} for n, document in enumerate(documents)]


@pytest.mark.parametrize("fields", [("a", "a"), ("a.b", "b"), ("o", "_id"), ("_id", "o.b")], ids=str)
@pytest.mark.parametrize("unwind", UNWINDS, ids=["drops", "keeps"])
@pytest.mark.parametrize("spec", GROUPS, ids=str)
@given(locals=DOCUMENTS, foreigns=DOCUMENTS)
@example(locals=[{"a": None}, {}, {"a": 1, "o": 0}], foreigns=[{}, {"a": None}, {"a": 1.0, "b": 2}, {"a": Decimal(1)}])
def test_it_gives_what_the_stages_give_or_declines(
    spec: dict[str, Any], unwind: Any, fields: tuple[str, str], locals: list[Any], foreigns: list[Any]
) -> None:
    locals, foreigns = numbered(locals), numbered(foreigns)
    found = grouped(compiled(spec, unwind, lookup(*fields)), locals, Foreign(foreigns))
    stages = [{"$lookup": lookup(*fields)}, {"$unwind": unwind}, {"$group": spec}]
    assert found is None or repr(found) == repr(run(locals, stages, ListContext({"other": foreigns})))


MANY = [{"_id": n, "k": n * 7919 % 5000, "v": n / 4} for n in range(10_000)]
OTHERS = [{"_id": n, "k": n % 4000, "kind": f"k{n % 7}"} for n in range(6_000)]
SUMS = {
    "_id": "$o.kind",
    "n": {"$sum": 1},
    "v": {"$sum": "$v"},
    "first": {"$first": "$_id"},
    "last": {"$last": "$o._id"},
}


@pytest.mark.parametrize("parts", [1, 7, 40])
@pytest.mark.parametrize("unwind", UNWINDS, ids=["drops", "keeps"])
def test_plain_fields_are_not_declined(unwind: Any, parts: int) -> None:
    foreign = Foreign(OTHERS)
    found = grouped(compiled(SUMS, unwind, lookup("k", "k")), MANY, foreign, parts=parts)
    stages = [{"$lookup": lookup("k", "k")}, {"$unwind": unwind}, {"$group": SUMS}]
    assert found is not None
    assert repr(found) == repr(run(MANY, stages, ListContext({"other": OTHERS})))
    assert sorted(value for filter in foreign.asked for value in filter["k"]["$in"]) == list(range(5000))


def test_it_forgets_what_it_may_not_hold() -> None:
    foreign = Foreign(OTHERS)
    grouping = compiled({"_id": None, "n": {"$sum": 1}}, "$o", lookup("k", "k"))
    found = grouped(grouping, MANY * 2, foreign, 300_000, 40)
    assert found == [{"_id": None, "n": 24_000}]
    assert sum(len(filter["k"]["$in"]) for filter in foreign.asked) > 5000


def test_more_than_it_may_hold_at_once_is_declined() -> None:
    others = [{"_id": n, "k": 1, "text": "x" * 1000} for n in range(100)]
    grouping = compiled({"_id": None, "n": {"$sum": 1}}, "$o", lookup("k", "k"))
    assert grouped(grouping, [{"_id": 1, "k": 1}], Foreign(others), 50_000) is None
    assert grouped(grouping, [{"_id": 1, "k": 1}], Foreign(others), 500_000) == [{"_id": None, "n": 100}]


@pytest.mark.parametrize("parts", [1, 3])
def test_others_have_a_turn_where_very_many_are_found(parts: int) -> None:
    locals = [{"_id": n, "k": n % 2} for n in range(300)]
    others = [{"_id": n, "k": n % 2} for n in range(4_000)]
    spec = {"_id": "$k", "n": {"$sum": 1}, "first": {"$first": "$o._id"}, "last": {"$last": "$_id"}}
    turns: list[bool] = []
    stored = [codec.encode(document) for document in locals]
    size = len(stored) // parts
    found = compiled(spec, "$o", lookup("k", "k")).run(
        lambda take: ([take(data) for data in stored[at : at + size]] for at in range(0, 300, size)),
        1 << 30,
        Foreign(others),
        lambda: turns.append(True),
    )
    assert found == [
        {"_id": 0, "n": 300_000, "first": 0, "last": 298},
        {"_id": 1, "n": 300_000, "first": 1, "last": 299},
    ]
    assert len(turns) >= 3


def test_the_number_of_groups() -> None:
    grouping = compiled({"_id": "$o.kind"}, "$o", lookup("k", "k"))
    stored = [codec.encode(document) for document in MANY]
    assert grouping.count(lambda take: iter([[take(data) for data in stored]]), 1 << 30, Foreign(OTHERS)) == 7


@pytest.mark.parametrize(
    ("local", "foreign"), [({"k": [1]}, {"k": 1}), ({"k": []}, {"k": 1}), ({"k": 1}, {"k": [1]}), ({"k": 1}, {"k": [[1], 1]})], ids=str
)  # fmt: skip
def test_arrays_are_declined(local: Any, foreign: Any) -> None:
    assert grouped(compiled(SUMS, "$o", lookup("k", "k")), numbered([local]), Foreign(numbered([foreign]))) is None


@pytest.mark.parametrize(
    ("local", "foreign"), [({"k": [{"b": 1}]}, {"k": {"b": 1}}), ({"k": {"b": 1}}, {"k": [{"b": 1}]})], ids=str
)
def test_arrays_on_the_way_are_declined(local: Any, foreign: Any) -> None:
    assert grouped(compiled(SUMS, "$o", lookup("k.b", "k.b")), numbered([local]), Foreign(numbered([foreign]))) is None


@pytest.mark.parametrize(
    ("joined", "unwind"),
    [
        (lookup("a", "b", "o.p"), "$o.p"),
        (lookup("a", "b"), "$a"),
        (lookup("a", "b"), {"path": "$o", "includeArrayIndex": "i"}),
        ({**lookup("a", "b"), "pipeline": []}, "$o"),
        ({"from": "other", "pipeline": [], "as": "o"}, "$o"),
    ],
    ids=["below", "another field", "index", "pipeline", "no fields"],
)
def test_what_is_no_plain_join(joined: dict[str, Any], unwind: Any) -> None:
    assert plain_join(joined, unwind) is None


@pytest.mark.parametrize("spec", GROUPS, ids=str)
@given(st.binary(max_size=40), st.booleans())
def test_the_kernel_survives_any_bytes(spec: dict[str, Any], data: bytes, prefixed: bool) -> None:
    grouping = compiled(spec, UNWINDS[1], lookup("a", "a"))
    whole = b"\x82\xa1a" + data + b"\xa1b" + data if prefixed else data
    sound = codec.encode({"_id": 1, "a": 1})
    for locals, foreigns in (([whole, sound], [sound]), ([sound], [whole, sound])):
        try:
            grouping.run(
                lambda take, locals=locals: iter([[take(each) for each in locals]]),
                1 << 30,
                lambda name, filter, foreigns=foreigns: iter([foreigns]),
            )
        except (CorruptError, QueryError):
            continue
