"""Entries of geographic indexes: their bytes, their marks, what is refused, how writes and builds keep them."""

from __future__ import annotations

import pytest

import docdb
from docdb.errors import DocumentError
from docdb.language.cells import cell_key, leaf_of_place, leaf_of_plane
from docdb.language.order import order_key
from docdb.store import codec
from docdb.store.geo_entries import GeoEntryMaker
from docdb.store.keyspace import NOT_COVERED, index_prefix, is_cut, is_multikey

ID = order_key(1)
AT = (("at",), "2dsphere")
LINE = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}


def entries(document, *keys, **options):
    maker = GeoEntryMaker(7, keys, options, None)
    return maker.entries(ID, codec.encode({"_id": 1, **document}))


@pytest.mark.parametrize(
    "value",
    [{"type": "Point", "coordinates": [10, 60]}, [10, 60], {"lng": 10, "lat": 60}],
    ids=["geojson", "pair", "document"],
)
def test_a_point_has_its_leaf(value):
    assert entries({"at": value}, AT) == [
        (index_prefix(7) + cell_key(leaf_of_place(10, 60)) + ID, bytes((len(ID), NOT_COVERED)))
    ]


def test_other_fields_stand_in_their_places():
    made = entries({"at": [10, 60], "k": "a", "n": 2}, (("k",), 1), AT, (("n",), 1), (("none",), 1))
    parts = order_key("a") + cell_key(leaf_of_place(10, 60)) + order_key(2) + order_key(None)
    assert made == [(index_prefix(7) + parts + ID, bytes((len(ID), 0, NOT_COVERED, 1, 5)))]


@pytest.mark.parametrize(
    "value", [LINE, SQUARE, {"type": "MultiPoint", "coordinates": [[1, 2]]}], ids=["line", "square", "points"]
)
def test_what_is_no_point_has_the_mark(value):
    made = entries({"at": value}, AT)
    assert 1 <= len(made) <= 12
    assert all(is_multikey(entry) for _, entry in made)


def test_every_row_meets_every_cell():
    places = [{"p": [1, 2]}, {"p": [3, 4]}]
    made = entries({"at": places, "k": ["a", "b", "c"]}, (("at", "p"), "2dsphere"), (("k",), 1))
    assert len({key for key, _ in made}) == 6
    assert all(is_multikey(entry) for _, entry in made)


def test_many_points_are_covered_as_a_region():
    points = {"type": "MultiPoint", "coordinates": [[i / 10, i / 20] for i in range(500)]}
    assert len(entries({"at": points}, AT)) <= 64


@pytest.mark.parametrize("document", [{}, {"at": None}, {"at": []}, {"k": 1}], ids=str)
def test_without_geometry_there_is_no_entry(document):
    assert entries(document, AT, (("k",), 1)) == []


def test_a_field_without_geometry_is_null_beside_one_with():
    made = entries({"at": [1, 2]}, (("other",), "2dsphere"), AT)
    assert [key[4:5] for key, _ in made] == [b"\x10"]


def test_a_long_prefix_is_cut():
    ((key, value),) = entries({"at": [1, 2], "k": "x" * 600}, (("k",), 1), AT)
    assert is_cut(value)
    assert len(key) <= 511


def test_flat_points_and_their_bounds():
    flat = (("at",), "2d")
    made = entries({"at": [[1, 2], [3, 4]]}, flat, min=0, max=10)
    assert [key[4:13] for key, _ in made] == sorted(cell_key(leaf_of_plane(x, y, 0, 10)) for x, y in ([1, 2], [3, 4]))
    with pytest.raises(DocumentError) as caught:
        entries({"at": [1, 20]}, flat, min=0, max=10)
    assert caught.value.code == 13027


def test_writes_keep_the_entries():
    with docdb.open(":memory:") as database:
        things = database["things"]
        things.create_index([("at", "2dsphere"), ("n", 1)])
        things.insert_many([{"_id": i, "at": [i, 0], "n": i} for i in range(50)])
        things.update_many({"n": {"$lt": 10}}, {"$set": {"at": SQUARE}})
        things.update_many({"n": {"$gte": 40}}, {"$unset": {"at": 1}})
        things.delete_many({"n": {"$in": [1, 20, 45]}})
        things.update_one({"_id": 30}, {"$set": {"unread": 1}})
        assert database.check().ok
        (stats,) = [row for row in things.aggregate([{"$indexStats": {}}]) if row["name"] == "at_2dsphere_n_1"]
        squares = len(entries({"at": SQUARE}, AT))
        assert stats["entries"] == 9 * squares + 29
        assert stats["multikey"] == 9 * squares


def test_an_index_built_later_is_the_index_built_first(tmp_path):
    rows = [{"_id": i, "at": [i / 30, i / 60]} for i in range(5_000)]
    near = {"at": {"$near": {"$geometry": {"type": "Point", "coordinates": [50, 30]}, "$maxDistance": 2_000_000}}}
    answers = []
    for first in (True, False):
        with docdb.open(tmp_path / f"{first}.docdb") as database:
            things = database["things"]
            if first:
                things.create_index([("at", "2dsphere")])
            things.insert_many(rows)
            things.create_index([("at", "2dsphere")])
            answers.append([document["_id"] for document in things.find(near)])
            assert things.find(near).explain()["access"] == "NearScan"
    assert answers[0] == answers[1]
    assert len(answers[0]) > 100


def test_a_build_refuses_what_has_no_geometry():
    with docdb.open(":memory:") as database:
        database["things"].insert_one({"at": "nowhere"})
        with pytest.raises(DocumentError) as caught:
            database["things"].create_index([("at", "2dsphere")])
        assert caught.value.code == 16755
        assert database["things"].index_information().keys() == {"_id_"}
