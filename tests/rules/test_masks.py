"""Masks, what touches a hidden path, and what may not be written."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from docdb.errors import DocdbError
from docdb.language.filters import parse
from docdb.language.matching import matcher
from docdb.language.paths import identical
from docdb.language.projection import parse_projection
from docdb.language.sorting import parse_sort, sort_key
from docdb.language.updates import parse_update
from docdb.language.values import Int64
from docdb.rules.fields import WHOLE, Fields, fields_of_filter, fields_of_projection, fields_of_sort, fields_of_update
from docdb.rules.masks import Mask, enters, fields_of_hint, mask, searched, speaks_of, violations
from docdb.rules.reach import fields_of_pipeline
from tests.rules import pipelines

HIDDEN = st.sets(st.sampled_from(pipelines.NAMED), min_size=1, max_size=3)


def naive(value: Any, hidden: set[str], above: str = "") -> Any:
    """Build the document anew, asking for every field whether its path is hidden."""
    if isinstance(value, list):
        return [naive(item, hidden, above) for item in value]
    if not isinstance(value, dict):
        return value
    paths = {name: f"{above}.{name}" if above else name for name in value}
    return {name: naive(item, hidden, paths[name]) for name, item in value.items() if paths[name] not in hidden}


deep = st.recursive(
    pipelines.scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "x", "y"]), inner),
    max_leaves=12,
)
deep_paths = st.lists(st.sampled_from(["a", "b", "x", "y"]), min_size=1, max_size=3).map(".".join)


@settings(max_examples=250, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), deep), st.sets(deep_paths, max_size=4))
def test_a_mask_is_what_a_walk_that_asks_everywhere_gives(document, hidden):
    before = repr(document)
    shown = Mask(hidden).apply(document)
    assert repr(shown) == repr(naive(document, hidden))
    assert repr(document) == before
    assert (shown is document) == (repr(shown) == before)


def test_a_mask_shares_what_it_leaves_alone():
    document = {"a": {"b": 1}, "c": {"d": {"e": 1}, "f": [1]}}
    shown = Mask(["c.d.e"]).apply(document)
    assert shown == {"a": {"b": 1}, "c": {"d": {}, "f": [1]}}
    assert shown["a"] is document["a"]
    assert shown["c"]["f"] is document["c"]["f"]
    assert mask(frozenset({"a"})) is mask(frozenset({"a"}))
    assert not Mask([])


def test_a_mask_knows_what_it_hides():
    hiding = Mask(["a.b", "c"])
    assert [hiding.hides(path) for path in ("a", "a.b", "a.0.b.x", "a.c", "c", "c.d", "d", "")] == [
        False, True, True, False, True, True, False, False,
    ]  # fmt: skip


TOUCHES = [
    ("a.b", "a.b", True, True),
    ("a.b.c", "a.b", True, True),
    ("a", "a.b", True, False),
    ("", "a.b", True, False),
    ("a.0.b", "a.b", True, True),
    ("a.0", "a.b", True, False),
    ("a.$[].b", "a.b", True, True),
    ("a.$[x].b.$", "a.b", True, True),
    ("$**", "a.b", True, False),
    ("a.$**", "a.b", True, False),
    ("a.c", "a.b", False, False),
    ("ab", "a", False, False),
    ("0.a", "a", False, False),
    ("b", "a.b", False, False),
]


@pytest.mark.parametrize(("path", "hidden", "by_use", "by_show"), TOUCHES)
def test_what_touches_a_hidden_path(path, hidden, by_use, by_show):
    assert speaks_of(Fields(used=frozenset({path})), [hidden]) == (hidden if by_use else None)
    assert speaks_of(Fields(shown=frozenset({path})), [hidden]) == (hidden if by_show else None)


@pytest.mark.parametrize(
    ("path", "inside"),
    [("a.b", False), ("a.b.c", True), ("a.b.0", True), ("a.b.$[]", True), ("a.0.b", False), ("a.$.b.c", True), ("a", False), ("a.bb.c", False),
     ("0.a.b.c", False)],
)  # fmt: skip
def test_what_leads_into_a_hidden_path(path, inside):
    assert enters(path, ["x", "a.b"]) == inside


def test_the_first_hidden_path_is_named():
    assert speaks_of(Fields(used=frozenset({"b", "c"})), {"c", "b", "a"}) == "b"
    assert speaks_of(Fields(used=frozenset({"b"})), ()) is None


QUERIES = [
    (fields_of_filter({"secret": {"$exists": True}}), True),
    (fields_of_filter({"$nor": [{"secret.x": 1}]}), True),
    (fields_of_filter({"$expr": {"$gt": ["$secret", 1]}}), True),
    (fields_of_filter({"$expr": {"$eq": [{"$getField": "secret"}, 1]}}), True),
    (fields_of_filter({"$expr": {"$eq": [{"$getField": {"$concat": ["sec", "ret"]}}, 1]}}), True),
    (fields_of_filter({"$expr": {"$in": ["x", {"$objectToArray": "$$ROOT"}]}}), True),
    (fields_of_filter({"$jsonSchema": {"properties": {"secret": {"type": "string"}}}}), True),
    (fields_of_filter({"list": {"$elemMatch": {"secret": 1}}}), True),
    (fields_of_filter({"list": {"$elemMatch": {"$elemMatch": {"secret": 1}}}}), True),
    (fields_of_filter({"list": {"$all": [{"$elemMatch": {"secret": {"$regex": "^a"}}}]}}), True),
    (fields_of_filter({"list": {"$size": 1}}), True),
    (fields_of_filter({"list.0.secret": 1}), True),
    (fields_of_filter({"name": "secret"}), False),
    (fields_of_sort({"secret": 1}), True),
    (fields_of_sort({"list": 1}), True),
    (fields_of_projection({"x": "$secret"}), True),
    (fields_of_projection({"secret": 1}), True),
    (fields_of_projection({"secret": {"$slice": 1}}), True),
    (fields_of_projection({"list": {"$elemMatch": {"secret": 1}}}), True),
    (fields_of_projection({"secret": 0}), False),
    (fields_of_projection({"list": 1}), False),
    (fields_of_projection({"x": "$$ROOT"}), False),
    (fields_of_pipeline([{"$group": {"_id": "$secret"}}]), True),
    (fields_of_pipeline([{"$set": {"x": "$list"}}, {"$match": {"x.secret": 1}}]), True),
    (fields_of_pipeline([{"$set": {"x": "$list"}}, {"$match": {"x": {"secret": 1}}}]), True),
    (fields_of_pipeline([{"$set": {"x": "$list"}}, {"$unwind": "$x"}]), False),
    (fields_of_pipeline([{"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}]), False),
    (fields_of_update({"$rename": {"secret": "public"}}).reads, True),
    (fields_of_update({"$rename": {"list": "public"}}).reads, True),
    (fields_of_update({"$max": {"secret": 1}}).reads, True),
    (fields_of_update({"$pull": {"list": {"secret": 1}}}).reads, True),
    (fields_of_update({"$set": {"list.$[x].n": 1}}, [{"x.secret": 1}]).reads, True),
    (fields_of_update({"$set": {"secret": 1}}).reads, False),
]


@pytest.mark.parametrize(("fields", "touching"), QUERIES, ids=range(len(QUERIES)))
def test_queries_that_speak_of_a_hidden_field(fields, touching):
    assert (speaks_of(fields, ["list.secret", "secret"]) is not None) == touching


@dataclass
class Index:
    name: str
    keys: tuple[tuple[tuple[str, ...], Any], ...]
    partial: Any = None
    text: Any = None


INDEXES = [
    Index("plain", ((("a", "b"), 1), (("c",), -1))),
    Index("partial", ((("d",), 1),), partial={"e": {"$gt": 5}}),
    Index("words", ((("f",), 1), (("_fts",), "text")), text={"weights": {"g": 1, "h.i": 2}, "language_override": "language"}),
    Index("places", ((("at",), "2dsphere"), (("k",), 1))),
]  # fmt: skip


def test_a_hint_speaks_of_its_index():
    assert fields_of_hint("plain", INDEXES).used == {"a.b", "c"}
    assert fields_of_hint({"a.b": 1, "c": -1}, INDEXES).used == {"a.b", "c"}
    assert fields_of_hint((("a.b", 1), ("c", -1)), INDEXES).used == {"a.b", "c"}
    assert fields_of_hint("partial", INDEXES).used == fields_of_hint({"d": 1}, INDEXES).used == {"d", "e"}
    assert fields_of_hint({"z": 1}, INDEXES).used == {"z"}
    assert fields_of_hint("other", INDEXES).used == {WHOLE}
    for hint in (None, {"$natural": 1}, "$natural", "_id_"):
        assert fields_of_hint(hint, INDEXES) == Fields()


def test_a_search_speaks_of_what_its_index_holds():
    words = searched(fields_of_filter({"$text": {"$search": "x"}}), INDEXES)
    assert words.used == {"f", "g", "h.i", "language"}
    assert searched(fields_of_pipeline([{"$geoNear": {"near": [0, 0]}}, {"$count": "n"}]), INDEXES).used == {"at", "k"}
    assert searched(Fields(searches=frozenset({"index"})), INDEXES).used >= {"a.b", "c", "d", "e", "at"}
    assert searched(Fields(), INDEXES) == Fields()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(pipelines.documents, pipelines.filters, pipelines.sorts, HIDDEN, st.data())
def test_a_query_that_does_not_speak_of_hidden_fields_tells_nothing_of_them(documents, filter, sort, hidden, data):
    """What a user sees of documents that differ in hidden fields only is the same."""
    assume(speaks_of(fields_of_filter(filter) | fields_of_sort(sort), hidden) is None)
    shape = data.draw(st.sampled_from([{"a": 1, "b.x": 1}, {"c": 0}, {"e": "$$ROOT"}, {"e": ["$a", "$b"]}, {}]))
    assume(speaks_of(fields_of_projection(shape), hidden) is None)
    before = seen(documents, filter, sort, hidden, shape)
    for path in hidden:
        for value in (..., 3, [3], {"x": 3}, data.draw(pipelines.values)):
            assert seen([altered(d, path, value) for d in documents], filter, sort, hidden, shape) == before


def altered(document, path, value):
    """Put another value where the path leads already."""
    head, _, tail = path.partition(".")
    if isinstance(document, list):
        return [altered(item, path, value) for item in document]
    if not isinstance(document, dict) or head not in document:
        return document
    if tail:
        return {**document, head: altered(document[head], tail, value)}
    return {
        name: value if name == head else item for name, item in document.items() if name != head or value is not ...
    }


def seen(documents, filter, sort, hidden, shape):
    try:
        test = matcher(parse(filter))
        projection = parse_projection(shape)
        found = sorted((d for d in documents if test(d)), key=sort_key(parse_sort(sort)))
        masked = [Mask(hidden).apply(document) for document in found]
        return repr(masked if projection is None else [projection.apply(document) for document in masked])
    except DocdbError as error:
        return f"{type(error).__name__} {error.code}"


UNCHANGED = [
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": {"x": 1}}, {"a": {"x": 1}, "c": 1}),
    ({"l": [{"x": 1}]}, {"l": [{"x": 1, "y": 2}, {"y": 3}]}),
    ({"l": 1}, {"l": [1, {"y": 1}]}),
    ({}, None),
]
CHANGED = [
    ({"a": 1}, {"a": 1.0}, "a"),
    ({"a": 1}, {"a": Int64(1)}, "a"),
    ({"a": 1}, {"a": True}, "a"),
    ({"a": 0.0}, {"a": -0.0}, "a"),
    ({"a": Decimal("1")}, {"a": Decimal("1.0")}, "a"),
    ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, "a"),
    ({"a": None}, {}, "a"),
    ({}, {"a": None}, "a"),
    (None, {"a": 1}, "a"),
    ({"a": 1}, None, "a"),
    ({"l": [{"x": 1}]}, {"l": [{"x": 2}]}, "l.x"),
    ({"l": [{"x": 1}, {"y": 1}]}, {"l": [{"y": 1}, {"x": 1}]}, "l.x"),
    ({"l": [{"x": 1}]}, {"l": []}, "l.x"),
    ({"l": [{"x": 1}]}, {"l": {"x": 1}}, "l.x"),
    ({"l": 1}, {"l": [[{"x": 1}]]}, "l.x"),
    ({"l": {"x": [1, 2]}}, {"l": {"x": [2, 1]}}, "l.x"),
]


@pytest.mark.parametrize(("old", "new"), UNCHANGED, ids=range(len(UNCHANGED)))
def test_what_may_not_be_written_is_unchanged(old, new):
    assert violations(old, new, ["a", "l.x"]) is None


@pytest.mark.parametrize(("old", "new", "path"), CHANGED, ids=range(len(CHANGED)))
def test_what_may_not_be_written_has_changed(old, new, path):
    assert violations(old, new, ["l.x", "a"]) == path
    assert violations(new, old, ["l.x", "a"]) == path


@settings(max_examples=250, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b"]), deep), st.dictionaries(st.sampled_from(["a", "b"]), deep), deep_paths
)
def test_violations_are_what_a_list_of_all_values_at_the_path_tells(old, new, path):
    same = identical(dict(places(old, path.split("."))), dict(places(new, path.split("."))))
    assert (violations(old, new, [path]) is None) == same


def places(value, steps, where=""):
    """Yield where in the arrays something stands at the path, and what."""
    if not steps:
        yield where, value
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from places(item, steps, f"{where}.{at}")
    elif isinstance(value, dict) and steps[0] in value:
        yield from places(value[steps[0]], steps[1:], where)


def test_an_update_shows_what_it_changed():
    document = {"_id": 1, "a": {"x": 1, "y": 1}, "l": [{"x": 1}]}
    update = parse_update({"$set": {"a.y": 2}, "$push": {"l": {"y": 1}}})
    changed = update.apply(document, now=None)
    assert violations(document, changed, ["a.x", "l.x"]) is None
    assert violations(document, changed, ["a.y", "l"]) == "a.y"
