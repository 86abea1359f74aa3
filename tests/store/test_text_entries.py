"""Entries of text indexes: their bytes, and that every way of writing keeps them true (the checker runs after each test)."""

from __future__ import annotations

import pytest

import docdb
from docdb.errors import CorruptError, DocumentError
from docdb.language.order import order_key
from docdb.language.text_search import TextSpec
from docdb.language.text_words import NO_STEMMER
from docdb.store import codec
from docdb.store.keyspace import component, is_cut
from docdb.store.text_entries import TextEntryMaker, entry_head, entry_score

SPEC = TextSpec((("t", 1.0),), "none", "language", NO_STEMMER)
TEXT = (("t",), "text")


def entries(document, keys=(TEXT,)):
    data = codec.encode(document)
    (made,) = TextEntryMaker(7, keys, SPEC).entries_many([order_key(document["_id"])], [data])
    return dict(made)


def test_one_entry_for_each_word():
    made = entries({"_id": 1, "t": "red red car"})
    id_key = order_key(1)
    assert set(made) == {b"\0\0\0\7red\0" + id_key, b"\0\0\0\7car\0" + id_key}
    value = made[b"\0\0\0\7car\0" + id_key]
    assert (value[0], value[1], len(value)) == (len(id_key), 0, 10)
    assert entry_score(value) == pytest.approx(0.5 / 3 + 0.5)


def test_fields_beside_the_text_stand_beside_the_word():
    keys = ((("a",), 1), TEXT, (("b", "c"), -1))
    (key,) = entries({"_id": 1, "a": 5, "b": {"c": "x"}, "t": "red"}, keys)
    assert key == b"\0\0\0\7" + component(5) + b"red\0" + component("x", -1) + order_key(1)


@pytest.mark.parametrize("document", [{"a": [1]}, {"b": {"c": []}}, {"b": [{"c": 1}]}], ids=str)
def test_an_array_beside_the_text_is_refused(document):
    with pytest.raises(DocumentError) as caught:
        entries({"_id": 1, "t": "red", **document}, ((("a",), 1), TEXT, (("b", "c"), 1)))
    assert caught.value.code == 201


def test_long_fields_before_the_text_stand_as_a_digest():
    long, other = component("x" * 300), component("x" * 299 + "y")
    assert len(entry_head(long)) == 64
    assert entry_head(long) != entry_head(other)
    assert entry_head(component("x")) == component("x")


def test_long_fields_behind_the_text_are_cut():
    ((key, value),) = entries({"_id": "i" * 200, "t": "red", "b": "y" * 600}, (TEXT, (("b",), 1))).items()
    assert len(key) <= 511
    assert is_cut(value)
    assert key.endswith(order_key("i" * 200))


def test_damaged_values_are_found():
    with pytest.raises(CorruptError):
        entry_score(b"\1\0")


def test_documents_without_text_have_no_entries():
    assert entries({"_id": 1, "t": 5}) == {}


@pytest.fixture
def words():
    database = docdb.open(":memory:")
    collection = database["words"]
    collection.create_index([("t", "text")], default_language="none")
    yield collection
    assert database.check().problems == []
    database.close()


def found(collection, search):
    return [document["_id"] for document in collection.find({"$text": {"$search": search}}).sort("_id")]


def count(collection):
    return next(row["entries"] for row in collection.index_stats() if row["name"] == "t_text")


def test_every_write_keeps_the_entries_true(words):
    words.insert_many([{"_id": 1, "t": "red car"}, {"_id": 2, "t": "red bus"}])
    words.insert_one({"_id": 3, "t": ["blue", "red"]})
    assert (found(words, "red"), count(words)) == ([1, 2, 3], 6)
    words.update_one({"_id": 1}, {"$set": {"t": "green car"}})
    assert (found(words, "red"), found(words, "green"), found(words, "car")) == ([2, 3], [1], [1])
    words.update_many({}, {"$set": {"n": 1}})
    words.replace_one({"_id": 2}, {"t": "bus"})
    words.update_one({"_id": 4}, {"$set": {"t": "new"}}, upsert=True)
    assert (found(words, "red"), found(words, "bus new")) == ([3], [2, 4])
    words.delete_one({"_id": 3})
    assert (found(words, "red blue"), count(words)) == ([], 4)


def test_an_update_of_the_language_makes_the_entries_anew():
    pytest.importorskip("snowballstemmer")
    with docdb.open(":memory:") as database:
        collection = database["c"]
        collection.create_index([("t", "text")])
        collection.insert_one({"_id": 1, "t": "running"})
        assert found(collection, "run") == [1]
        collection.update_one({"_id": 1}, {"$set": {"language": "none"}})
        assert found(collection, "run") == []
        assert database.check().problems == []


def test_a_refused_document_puts_nothing(words):
    with pytest.raises(DocumentError) as caught:
        words.insert_one({"_id": 1, "t": "red", "language": "klingon"})
    assert caught.value.code == 17262
    assert (words.count_documents({}), count(words)) == (0, 0)


def test_building_over_documents_gives_what_writing_gives(tmp_path):
    documents = [{"_id": n, "t": f"word{n % 7} all 東京{n}"} for n in range(500)]
    with docdb.open(tmp_path / "db") as database:
        database["built"].insert_many(documents)
        database["written"].create_index([("t", "text")])
        database["built"].create_index([("t", "text")])
        database["written"].insert_many(documents)
        assert found(database["built"], "word3") == found(database["written"], "word3") == list(range(3, 500, 7))
        assert database["built"].index_stats()[1]["entries"] == database["written"].index_stats()[1]["entries"]
    with docdb.open(tmp_path / "db") as database:
        assert found(database["built"], "word3") == list(range(3, 500, 7))
        assert database.check().problems == []


def test_an_index_made_with_another_stemmer_says_so(words, monkeypatch):
    from docdb.language import text_words

    words.insert_one({"_id": 1, "t": "red"})
    words.drop_index("t_text")
    words.create_index([("t", "text")])
    monkeypatch.setattr(text_words, "stemmer_here", lambda: "snowball 99.0")
    text_words.words_of.cache_clear()
    info = words.session.collection_info("words").indexes[0]
    if info.text["stemmer"] == NO_STEMMER:
        pytest.skip("snowballstemmer is not installed")
    with pytest.raises(docdb.DocdbError, match="snowball 99.0"):
        found(words, "red")
    words.drop_index("t_text")
    text_words.words_of.cache_clear()
