"""Text search through its index gives what the law over documents gives: random documents, searches, indexes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import docdb
from docdb.errors import QueryError
from docdb.language.filters import parse
from docdb.language.text_search import TextSpec, judge, scorer
from docdb.language.text_words import NO_STEMMER
from docdb.language.tree import Text

WORDS = ["red", "Red", "car", "café", "cafe", "bus-stop", "it's", "東京", "東京都", "京", "x" * 80]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)
FIELD = TEXTS | st.lists(TEXTS, max_size=2) | st.just(None) | st.integers(0, 3)
DOCUMENTS = st.lists(
    st.fixed_dictionaries({}, optional={"a": FIELD, "b": FIELD, "n": st.integers(0, 2), "k": st.sampled_from(["p" * 90, "q", None])}),
    max_size=10,
)  # fmt: skip
PART = st.one_of(
    st.sampled_from(WORDS), st.sampled_from(WORDS).map(lambda word: f"-{word}"),
    st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)).map(lambda pair: f'"{pair[0]} {pair[1]}"'),
    st.sampled_from(WORDS).map(lambda word: f'-"{word}"'),
)  # fmt: skip
SEARCHES = st.lists(PART, max_size=4).map(" ".join)
KEYS = st.sampled_from([
    [("a", "text")], [("a", "text"), ("b", "text")], [("$**", "text")], [("k", 1), ("a", "text")], [("a", "text"), ("n", 1)],
    [("k", -1), ("b", "text"), ("n", -1)],
])  # fmt: skip
MORE = st.sampled_from([{}, {"n": 1}, {"n": {"$gt": 0}}, {"n": {"$exists": False}}])
quick = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(DOCUMENTS, SEARCHES, KEYS, MORE, st.booleans(), st.booleans())
def test_the_index_gives_what_the_law_gives(documents, search, keys, more, case, diacritics):
    with docdb.open(":memory:") as database:
        collection = database["c"]
        stored = [{"_id": at, **document} for at, document in enumerate(documents)]
        if stored:
            collection.insert_many(stored)
        collection.create_index(keys, default_language="none")
        before = {"k": "p" * 90} if keys[0][0] == "k" else {}
        options = {"$caseSensitive": case, "$diacriticSensitive": diacritics}
        filter = {"$text": {"$search": search, **options}, **more, **before}

        weights = tuple((name, 1.0) for name, way in keys if way == "text")
        spec = TextSpec(weights, "none", "language", NO_STEMMER)
        leaf = Text(search, None, case, diacritics, spec)
        rest = docdb_matcher({**more, **before})
        expected = {d["_id"]: scorer(leaf)(d) for d in stored if judge(leaf)(d) and rest(d)}

        ranked = collection.find(filter, {"s": {"$meta": "textScore"}}).sort([("s", {"$meta": "textScore"})]).to_list()
        assert {d["_id"]: d["s"] for d in ranked} == pytest.approx(expected)
        assert [d["s"] for d in ranked] == sorted((d["s"] for d in ranked), reverse=True)
        assert sorted(d["_id"] for d in collection.find(filter)) == sorted(expected)
        assert collection.count_documents(filter) == len(expected)
        assert [d["_id"] for d in collection.find(filter).sort([("s", {"$meta": "textScore"})]).limit(2)] == [
            d["_id"] for d in ranked[:2]
        ]
        assert database.check().problems == []


def docdb_matcher(filter):
    from docdb.language.matching import matcher

    return matcher(parse(filter))


@pytest.fixture
def collection():
    with docdb.open(":memory:") as database:
        collection = database["c"]
        collection.insert_many([{"_id": n, "t": f"all word{n % 10}", "n": n, "kind": "ab"[n % 2]} for n in range(100)])
        collection.create_index([("t", "text")], default_language="none")
        yield collection


def test_explain_names_the_path(collection):
    shown = collection.find({"$text": {"$search": "word1 -all"}, "n": {"$gt": 5}}).explain()
    assert {"access": "TextScan", "index": "t_text", "words": ["word1"], "filter": "residual"}.items() <= shown.items()
    assert shown["entries_examined"] == 10


def test_a_ranked_search_reads_no_more_documents_than_wanted(collection):
    found = collection.find({"$text": {"$search": "word1 all"}}).sort([("s", {"$meta": "textScore"})]).limit(3)
    assert [document["_id"] for document in found.clone()] == [1, 11, 21]
    shown = found.explain()
    assert (shown["ranked"], shown["sort"], shown["documents_examined"]) == (True, "index", 3)


def test_one_word_is_counted_in_the_index(collection):
    collection.find({}).to_list()
    assert collection.count_documents({"$text": {"$search": "all"}}) == 100


def test_fields_behind_the_text_narrow_the_entries(collection):
    collection.drop_index("t_text")
    collection.create_index([("t", "text"), ("n", 1)], default_language="none")
    shown = collection.find({"$text": {"$search": "all"}, "n": {"$gte": 95}}).explain()
    assert (shown["entries_examined"], shown["returned"]) == (5, 5)


def test_an_or_takes_each_branch_from_its_index(collection):
    collection.create_index("n")
    filter = {"$or": [{"$text": {"$search": "word3"}}, {"n": {"$in": [3, 4]}}], "kind": "b"}
    found = collection.find(filter, {"s": {"$meta": "textScore"}}).sort([("s", {"$meta": "textScore"}), ("_id", -1)])
    assert [(d["_id"], round(d["s"], 3)) for d in found.clone().limit(2)] == [(93, 0.75), (83, 0.75)]
    assert len(found.clone().to_list()) == 10
    assert found.explain()["access"] == "IndexUnion"


@pytest.mark.parametrize(
    ("filter", "code"),
    [
        ({"$and": [{"$text": {"$search": "a"}}, {"$text": {"$search": "b"}}]}, 2),
        ({"$or": [{"$text": {"$search": "a"}}, {"kind": "a"}]}, 291),
        ({"$text": {"$search": "a"}, "p": {"$near": [0, 0]}}, 2),
    ],
    ids=["two", "a branch without index", "near"],
)
def test_what_does_not_go_together(collection, filter, code):
    with pytest.raises(QueryError) as caught:
        collection.find(filter).to_list()
    assert caught.value.code == code


@pytest.mark.parametrize("hint", ["t_text", {"$natural": 1}, "_id_"], ids=str)
def test_a_search_takes_no_hint(collection, hint):
    with pytest.raises(QueryError) as caught:
        collection.find({"$text": {"$search": "a"}}).hint(hint).to_list()
    assert caught.value.code == 2


def test_the_text_index_serves_nothing_else(collection):
    with pytest.raises(QueryError) as caught:
        collection.find({"n": 1}).hint("t_text").to_list()
    assert caught.value.code == 291


def test_a_field_before_the_text_must_be_given(collection):
    collection.drop_index("t_text")
    collection.create_index([("kind", 1), ("t", "text")], default_language="none")
    assert collection.count_documents({"$text": {"$search": "all"}, "kind": "a"}) == 50
    with pytest.raises(QueryError) as caught:
        collection.find({"$text": {"$search": "all"}, "kind": {"$gt": "a"}}).to_list()
    assert caught.value.code == 291


def test_a_partial_index_serves_what_implies_its_condition(collection):
    collection.drop_index("t_text")
    collection.create_index([("t", "text")], partial={"n": {"$gte": 50}}, default_language="none")
    assert collection.count_documents({"$text": {"$search": "all"}, "n": {"$gte": 60}}) == 40
    with pytest.raises(QueryError) as caught:
        collection.find({"$text": {"$search": "all"}}).to_list()
    assert caught.value.code == 291


def test_a_hidden_index_does_not_serve(collection):
    collection.drop_index("t_text")
    collection.create_index([("t", "text")], hidden=True)
    with pytest.raises(QueryError) as caught:
        collection.find({"$text": {"$search": "all"}}).to_list()
    assert caught.value.code == 27


def test_an_empty_collection_without_index_finds_nothing():
    with docdb.open(":memory:") as database:
        assert database["none"].find({"$text": {"$search": "all"}}).to_list() == []


def test_pages_follow_a_field_not_a_score(collection):
    query = collection.where({"$text": {"$search": "all"}}).order_by("n", "asc").limit(60)
    page = query.after("").get()
    rest = query.after(page.token).get()
    assert [d["n"] for d in rest] == list(range(60, 100))
