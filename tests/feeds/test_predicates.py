"""The predicate index: both tables give the same queries, and no query whose filter matches is ever left out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docdb import _native
from docdb.errors import CorruptError
from docdb.feeds.predicate_table import PredicateTable
from docdb.feeds.predicates import PredicateIndex
from docdb.language import filters, tree
from docdb.language.collation import parse_collation
from docdb.language.matching import matcher
from docdb.store import codec
from tests.language.test_programs import documents, nodes, paths, scalars, values

TABLES = [PredicateTable]
if _native.AVAILABLE:
    from docdb._native.predicates import PredicateTable as Kernel

    TABLES.append(Kernel)
BOTH = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__module__)
FOLDED = parse_collation({"locale": "en", "strength": 2})
EQUAL_VALUES = [None, 1, 2, "x", "y", True, [], [1], {"b": 1}]


def stored(document):
    return codec.encode(document)


def filled(table, queries):
    index = PredicateIndex(table=table())
    for key, node in queries.items():
        index.add(key, node)
    return index


def parsed(table, *conditions):
    return filled(table, {key: filters.parse(condition) for key, condition in enumerate(conditions)})


def found(index, before, after):
    candidates = index.candidates(stored(before) if before else b"", stored(after) if after else b"")
    assert len(candidates) == len(set(candidates))
    return set(candidates)


def matching(queries, *images):
    return {key for key, node in queries.items() if any(matcher(node)(image) for image in images if image)}


def with_id(document):
    return {"_id": 1, **document}


def collated(node):
    return node if not isinstance(node, tree.Compare | tree.In) else type(node)(*fields_of(node), collation=FOLDED)


def fields_of(node):
    return (
        (node.path, node.op, node.value) if isinstance(node, tree.Compare) else (node.path, node.values, node.patterns)
    )


stored_documents = documents.map(with_id)
equalities = st.builds(tree.Compare, paths, st.just("eq"), st.sampled_from(EQUAL_VALUES))
equality_documents = st.dictionaries(
    st.sampled_from(["a", "b", "0"]),
    st.recursive(
        st.sampled_from(EQUAL_VALUES),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "0"]), inner, max_size=2)
        ),
        max_leaves=5,
    ),
    max_size=3,
).map(with_id)


@settings(max_examples=250)
@given(st.lists(nodes, max_size=8), stored_documents, stored_documents)
def test_no_match_is_left_out(some, before, after):
    queries = dict(enumerate(some))
    answers = [found(filled(table, queries), before, after) for table in TABLES]
    assert matching(queries, before, after) <= answers[0]
    assert all(answer == answers[0] for answer in answers)


@settings(max_examples=150)
@given(
    st.lists(st.builds(tree.Compare, paths, st.sampled_from(["gt", "gte", "lt", "lte"]), values), max_size=4),
    stored_documents,
)
def test_ranges_together(some, document):
    queries = {0: tree.And(tuple(some)), 1: tree.Or(tuple(some)), 2: tree.ElemMatch(("a",), tree.And(tuple(some)))}
    answers = [found(filled(table, queries), document, None) for table in TABLES]
    assert matching(queries, document) <= answers[0]
    assert all(answer == answers[0] for answer in answers)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(["gt", "gte", "lt", "lte", "eq"]), scalars), max_size=3), stored_documents)
def test_searches_through_elements(some, document):
    leaves = tuple(tree.Compare((), op, value) for op, value in some)
    queries = {
        0: tree.ElemMatch(("a",), tree.And(leaves), values=True),
        1: tree.ElemMatch(("a", "b"), tree.Or(leaves), values=True),
    }
    answers = [found(filled(table, queries), document, None) for table in TABLES]
    assert matching(queries, document) <= answers[0]
    assert all(answer == answers[0] for answer in answers)


@settings(max_examples=250)
@given(st.lists(equalities, min_size=1, max_size=8), equality_documents)
def test_equalities_are_exact(some, document):
    queries = dict(enumerate(some))
    expected = matching(queries, document)
    assert [found(filled(table, queries), None, document) for table in TABLES] == [expected] * len(TABLES)


@settings(max_examples=120)
@given(st.lists(equalities.filter(lambda node: node.value is not None), min_size=1, max_size=4), equality_documents)
def test_equalities_over_several_paths_are_exact(some, document):
    apart = {node.path: node for node in some}
    queries = {0: tree.And(tuple(apart.values())), 1: tree.Or(tuple(some))}
    expected = matching(queries, document)
    assert [found(filled(table, queries), document, None) for table in TABLES] == [expected] * len(TABLES)


texts = st.sampled_from(["a", "A", "ab", "AB", "b", 1, None, ["A"], {"b": "a"}])
collated_leaves = st.one_of(
    st.builds(tree.Compare, paths, st.sampled_from(["eq", "gt", "lte"]), texts, st.just(FOLDED)),
    st.builds(lambda path, among: tree.In(path, tuple(among), (), FOLDED), paths, st.lists(texts, max_size=3)),
)
collated_documents = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.recursive(texts, lambda inner: st.lists(inner, max_size=2), max_leaves=3),
    max_size=2,
).map(with_id)


@settings(max_examples=120)
@given(st.lists(collated_leaves, max_size=4), collated_documents)
def test_collations(some, document):
    queries = {**dict(enumerate(some)), -1: tree.And(tuple(some))}
    answers = [found(filled(table, queries), document, document) for table in TABLES]
    assert matching(queries, document) <= answers[0]
    assert all(answer == answers[0] for answer in answers)


@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_queries_come_and_go(table, seed):
    chance = random.Random(seed)
    index, queries = PredicateIndex(table=table()), {}

    def value():
        return chance.choice([chance.randrange(5), None, [chance.randrange(5), "x"], {"b": chance.randrange(3)}])

    def condition():
        path = chance.choice(["a", "b", "a.b", "c.0", "d.e.f"])
        return chance.choice([
            {path: value()}, {path: {"$in": [value(), 7]}}, {path: {"$gt": chance.randrange(5)}}, {path: {"$exists": False}},
            {"a": value(), "b": value()}, {path: {"$gte": chance.randrange(5), "$lt": chance.randrange(9)}},
            {"$or": [{"a": value()}, {"b": {"$lt": 2}}]}, {path: {"$ne": value()}}, {path: {"$exists": True}},
        ])  # fmt: skip

    for step in range(400):
        if queries and chance.random() < 0.45:
            gone = chance.choice(list(queries))
            index.remove(gone)
            del queries[gone]
        else:
            queries[step] = filters.parse(condition())
            index.add(step, queries[step])
        document = {"_id": step, "a": value(), "b": value(), "c": [value(), value()], "d": {"e": value()}}
        assert matching(queries, document) <= found(index, document, None)
        assert index.stats()["queries"] == len(queries)
    for key in list(queries):
        index.remove(key)
    assert found(index, {"_id": 1, "a": 1}, None) == set()
    assert {name: count for name, count in index.stats().items() if name != "bytes"} == {
        "queries": 0, "unindexed": 0, "equalities": 0, "ranges": 0, "paths": 0,
    }  # fmt: skip


@BOTH
@pytest.mark.parametrize(
    ("conditions", "document", "expected"),
    [
        ([{"room": 1}, {"room": 2}], {"room": 1}, {0}),
        ([{"room": 1, "user": 1}, {"room": 1, "user": 2}, {"user": 1}], {"room": 1, "user": 1}, {0, 2}),
        ([{"a": {"$in": [1, 2]}}, {"a": {"$in": [3]}}], {"a": [2, 9]}, {0}),
        ([{"a": {"$gt": 5}}, {"a": {"$gt": 5, "$lt": 8}}, {"a": {"$gt": 9, "$lt": 12}}], {"a": 7}, {0, 1}),
        ([{"a": {"$gt": 5, "$lt": 8}}], {"a": [1, 20]}, {0}),
        ([{"a": {"$gt": 5, "$lt": 8}}], {"a": [1, "x", 2]}, set()),
        ([{"a": {"$elemMatch": {"$gt": 5, "$lt": 8}}}], {"a": [1, 20]}, set()),
        ([{"a": {"$elemMatch": {"b": 1, "c": 2}}}, {"a": {"$elemMatch": {"b": 3}}}], {"a": [{"b": 1}, {"c": 2}]}, {0}),
        ([{"a": None}, {"b": None}], {"a": 1}, {1}),
        ([{"a": {"$exists": False}}, {"b": {"$exists": False}}], {"a": None}, {1}),
        ([{"a.b": None}], {"a": [1]}, set()),
        ([{"a": [1, 2]}, {"a": [1]}], {"a": [1, 2]}, {0}),
        ([{"tags.1": "x"}, {"tags.0": "x"}], {"tags": ["y", "x"]}, {0}),
        ([{"name": {"$regex": "^ab"}}, {"name": {"$regex": "^b"}}], {"name": "abc"}, {0}),
        ([{"$or": [{"a": 1}, {"b": 2}]}, {"$or": [{"a": 3}, {"b": {"$gt": 4}}]}], {"b": 2}, {0}),
        ([{"a": {"$all": [1, 2]}}], {"a": [1]}, {0}),
        ([{"_id": 9}, {"_id": 1}], {}, {1}),
        ([{"a": {"$in": []}}], {"a": 1}, set()),
        ([{"a": {"$type": "string"}}, {"a": {"$size": 2}}], {"a": [1, 2]}, {1}),
        ([{"a": 1, "$expr": {"$eq": ["$a", "$b"]}}, {"a": 2, "b": {"$ne": 1}}], {"a": 1}, {0}),
    ],
    ids=str,
)  # fmt: skip
def test_candidates(table, conditions, document, expected):
    index = parsed(table, *conditions)
    assert found(index, None, {"_id": 1, **document}) == expected
    assert index.unindexed == 0


@BOTH
@pytest.mark.parametrize(
    "condition",
    [{}, {"a": {"$ne": 1}}, {"a": {"$not": {"$gt": 1}}}, {"$nor": [{"a": 1}]}, {"$expr": {"$eq": ["$a", 1]}}, {"$or": [{"a": 1}, {"b": {"$ne": 1}}]}],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_indexed_is_always_a_candidate(table, condition):
    index = parsed(table, condition)
    assert index.unindexed == 1
    assert found(index, None, {"_id": 1}) == {0}
    index.remove(0)
    assert (index.unindexed, found(index, None, {"_id": 1})) == (0, set())


@BOTH
def test_both_images_count(table):
    index = parsed(table, {"a": 1}, {"a": 2}, {"a": 3})
    assert found(index, {"_id": 1, "a": 1}, {"_id": 1, "a": 2}) == {0, 1}


@BOTH
def test_many_shapes_at_one_path_fall_back_on_the_rarest_value(table):
    index = parsed(table, *({"room": 1, f"members.{user}": True} for user in range(100)))
    assert found(index, None, {"_id": 1, "room": 1, "members": {"50": True}}) == {50}
    for user in range(100):
        index.remove(user)
    assert index.stats()["paths"] == 0


@BOTH
def test_arrays_that_make_too_many_combinations_take_the_whole_shape(table):
    index = parsed(table, *({"a": n, "b": n} for n in range(20)), {"a": 1, "c": 1})
    long = list(range(1_000, 1_200))
    assert found(index, None, {"_id": 1, "a": long, "b": long}) == set(range(20))


@BOTH
def test_keys_are_taken_once(table):
    index = parsed(table, {"a": 1}, {"a": {"$ne": 1}})
    with pytest.raises(ValueError, match="query 0 is there already"):
        index.add(0, tree.TRUE)
    with pytest.raises(ValueError, match="query 1 is there already"):
        index.add(1, tree.TRUE)
    with pytest.raises(KeyError):
        index.remove(2)


@BOTH
def test_damaged_documents_raise(table):
    index = parsed(table, {"a": 1})
    whole = stored({"_id": 1, "a": "text", "b": 1})
    for size in range(1, len(whole)):
        try:
            index.candidates(whole[:size], b"")
        except CorruptError:
            continue
        # the walk ends when every field somebody waits for was met; the reference decodes all
        assert table is not PredicateTable and size >= len(whole) - 3
    assert found(index, {"_id": 1, "a": 1}, None) == {0}


@pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not built or switched off")
def test_an_equality_takes_few_bytes():
    index = parsed(Kernel, *({"room": room} for room in range(20_000)))
    assert index.stats()["bytes"] < 200 * 20_000


@pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not built or switched off")
def test_the_kernel_is_the_table():
    assert type(PredicateIndex()._table).__module__ == "docdb._native.predicates"
