"""Geography through the database: constructors, filters, the order of $near, $geoNear, indexes that check."""

import pytest

import docdb
from docdb import command as _
from docdb import geo
from docdb.errors import BulkWriteError, DocumentError, IndexDefinitionError, QueryError

PLACES = {"Oslo": (10.75, 59.91), "Bergen": (5.32, 60.39), "Trondheim": (10.4, 63.43), "Fiji": (178.5, -17.8)}


@pytest.fixture
def places():
    with docdb.open(":memory:") as database:
        collection = database["places"]
        collection.create_index([("at", "2dsphere")])
        collection.insert_many([{"_id": name, "at": geo.Point(*place)} for name, place in PLACES.items()])
        collection.insert_one({"_id": "nowhere"})
        yield collection
        assert database.check().ok


def names(found):
    return [document["_id"] for document in found]


@pytest.mark.parametrize(
    ("make", "coordinates"),
    [
        (lambda: geo.Point(1, 2), [1, 2]),
        (lambda: geo.LineString([geo.Point(1, 2), (3, 4)]), [[1, 2], [3, 4]]),
        (lambda: geo.Polygon([geo.LineString([(0, 0), (1, 0), (1, 1), (0, 0)])]), [[[0, 0], [1, 0], [1, 1], [0, 0]]]),
        (lambda: geo.MultiPoint([(1, 2)]), [[1, 2]]),
        (lambda: geo.MultiLineString([[(1, 2), (3, 4)]]), [[[1, 2], [3, 4]]]),
        (lambda: geo.MultiPolygon([[[(0, 0), (1, 0), (1, 1), (0, 0)]]]), [[[[0, 0], [1, 0], [1, 1], [0, 0]]]]),
    ],
    ids=["Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"],
)
def test_constructors(make, coordinates):
    assert make()["coordinates"] == coordinates


@pytest.mark.parametrize(
    "make",
    [
        lambda: geo.Point(181, 0),
        lambda: geo.Point(0, -91),
        lambda: geo.Point(float("nan"), 0),
        lambda: geo.Point("1", 2),
        lambda: geo.LineString([(0, 0)]),
        lambda: geo.Polygon([[(0, 0), (1, 0), (1, 1), (0, 1)]]),
        lambda: geo.Polygon([]),
        lambda: geo.MultiPoint([]),
        lambda: geo.MultiPoint("ab"),
        lambda: geo.LineString([(0, 0, 0), (1, 1, 1)]),
    ],
)
def test_constructors_refuse(make):
    with pytest.raises(DocumentError):
        make()


def test_near_comes_in_the_order_of_distance(places):
    here = geo.Point(10.75, 59.91)
    assert names(places.find({"at": {"$near": {"$geometry": here}}})) == ["Oslo", "Bergen", "Trondheim", "Fiji"]
    assert names(places.where({"at": _.geo_near(here, 350_000, 1_000)}).get()) == ["Bergen"]
    assert names(places.find({"at": _.geo_near(here)}).skip(1).limit(2)) == ["Bergen", "Trondheim"]
    assert names(places.find({"at": _.geo_near(here)}).sort("_id", 1)) == ["Bergen", "Fiji", "Oslo", "Trondheim"]
    assert places.count_documents({"at": _.geo_near(here, 1_000_000)}) == 3


def test_a_write_takes_the_nearest(places):
    found = places.find_one_and_update({"at": _.geo_near(geo.Point(5, 60))}, {"$set": {"seen": True}})
    assert found["_id"] == "Bergen"


def test_explain_with_near(places):
    shown = places.find({"at": _.geo_near(geo.Point(5, 60))}).explain()
    assert "create_index" not in str(shown)


def test_within_and_intersects(places):
    norway = geo.Polygon([[(4, 57), (13, 57), (13, 65), (4, 65), (4, 57)]])
    assert names(places.find({"at": _.geo_within(norway)}).sort("_id", 1)) == ["Bergen", "Oslo", "Trondheim"]
    assert names(places.find({"at": _.geo_within(center_sphere=(geo.Point(5, 60), 0.02))})) == ["Bergen"]
    assert names(places.find({"at": _.geo_intersects(geo.Point(*PLACES["Fiji"]))})) == ["Fiji"]


def test_geo_near_stage(places):
    stage = {
        "near": geo.Point(10.75, 59.91),
        "distanceField": "away",
        "distanceMultiplier": 0.001,
        "query": {"_id": {"$ne": "Oslo"}},
    }
    found = list(places.aggregate([{"$geoNear": {**stage, "includeLocs": "place"}}, {"$limit": 2}]))
    assert names(found) == ["Bergen", "Trondheim"]
    assert 300 < found[0]["away"] < 310 and found[0]["place"] == found[0]["at"]


def test_near_needs_an_index(places):
    with pytest.raises(QueryError) as caught:
        list(places.find({"other": {"$near": {"$geometry": geo.Point(0, 0)}}}))
    assert caught.value.code == 291 and "2dsphere" in caught.value.hint


@pytest.mark.parametrize("nested", ["$or", "$nor"])
def test_near_stands_at_the_top(places, nested):
    with pytest.raises(QueryError) as caught:
        places.find({nested: [{"at": {"$near": {"$geometry": geo.Point(0, 0)}}}]})
    assert caught.value.code == 2


def test_near_and_pages_do_not_go_together(places):
    with pytest.raises(QueryError, match="keyset"):
        list(places.find({"at": _.geo_near(geo.Point(0, 0))}).after(""))


def test_an_index_checks_and_is_listed(places):
    shown = list(places.list_indexes())[1]
    assert shown["key"] == {"at": "2dsphere"} and shown["name"] == "at_2dsphere"
    with pytest.raises((DocumentError, BulkWriteError)) as caught:
        places.insert_one({"at": "here"})
    assert caught.value.code == 16755
    with pytest.raises(DocumentError):
        places.update_one({"_id": "Oslo"}, {"$set": {"at": {"type": "Point", "coordinates": [0, 91]}}})
    assert places.find_one({"_id": "Oslo"})["at"] == geo.Point(*PLACES["Oslo"])


def test_a_flat_index_has_bounds():
    with docdb.open(":memory:") as database:
        grid = database["grid"]
        grid.create_index([("at", "2d")], min=-500, max=500)
        grid.insert_many([{"_id": 1, "at": [0, 0]}, {"_id": 2, "at": [300, 400]}, {"_id": 3, "at": {"x": 3, "y": 4}}])
        assert names(grid.find({"at": {"$near": [0, 0], "$maxDistance": 100}})) == [1, 3]
        assert names(grid.find({"at": {"$geoWithin": {"$box": [[200, 200], [500, 500]]}}})) == [2]
        with pytest.raises(DocumentError) as caught:
            grid.insert_one({"at": [600, 0]})
        assert caught.value.code == 13027


def test_an_index_over_documents_without_geometry_is_refused():
    with docdb.open(":memory:") as database:
        database["a"].insert_one({"at": "here"})
        with pytest.raises(DocumentError):
            database["a"].create_index([("at", "2dsphere")])
        assert len(list(database["a"].list_indexes())) == 1


@pytest.mark.parametrize("options", [{"unique": True}, {"expireAfterSeconds": 1}])
def test_options_that_do_not_fit(places, options):
    with pytest.raises(IndexDefinitionError):
        places.create_index([("there", "2dsphere")], **options)


def test_a_geographic_index_is_still_there_after_reopening(tmp_path):
    with docdb.open(tmp_path / "db") as database:
        database["a"].create_index([("at", "2dsphere"), ("n", 1)])
    with docdb.open(tmp_path / "db") as database:
        assert list(database["a"].list_indexes())[1]["key"] == {"at": "2dsphere", "n": 1}
        with pytest.raises(DocumentError):
            database["a"].insert_one({"at": 1})
        assert database.check().ok


def test_a_hinted_geographic_index_gives_the_documents_it_speaks_of(places):
    assert len(list(places.find({}, hint="at_2dsphere"))) == len(PLACES)
    with pytest.raises(QueryError, match="min and max"):
        list(places.find({}, hint="at_2dsphere", min={"at": 1}))
