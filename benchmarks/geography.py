"""Places within a radius among real cities: docdb's cells, docdb's scan, SQLite's R*Tree.

What lives here: the row. The R*Tree gives the candidates of a box of longitude and latitude, a function written in Python judges their distance, as docdb's
judge does; both give the documents.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rivals.docdb_itself import Docdb
from benchmarks.rivals.sqlite_jsonb import SqliteJsonb

CITIES = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "cities.json.gz"
RADII_KM = (5, 25, 100, 400)
EARTH_KM = 6378.1
ROUNDS = 5
Place = list[float]
Within = Callable[[Place, float], list[dict[str, Any]]]


def measure() -> tuple[dict[str, float], str] | None:
    """Return microseconds a query of 25 km by contestant, and a note with the other radii; None without the data."""
    if not CITIES.exists():
        return None
    with gzip.open(CITIES, "rt") as file:
        rows = json.load(file)
    documents = [
        {"_id": i, "name": row["name"], "at": {"type": "Point", "coordinates": [float(row["lng"]), float(row["lat"])]}}
        for i, row in enumerate(rows)
    ]
    folder = Path(tempfile.mkdtemp(prefix="docdb-bench-"))
    try:
        return _measured(documents, folder)
    finally:
        shutil.rmtree(folder)


def _measured(documents: list[dict[str, Any]], folder: Path) -> tuple[dict[str, float], str]:
    import docdb

    chance = random.Random(3)
    centres = [chance.choice(documents)["at"]["coordinates"] for _ in range(40)]
    with docdb.open(folder / "cities.docdb") as db:
        cities = db["cities"]
        cities.insert_many(documents)
        began = time.perf_counter()
        cities.create_index([("at", "2dsphere")])
        built = time.perf_counter() - began
        rtree = _rtree(documents, folder)

        def cells(place: Place, km: float) -> list[dict[str, Any]]:
            return list(cities.find({"at": {"$geoWithin": {"$centerSphere": [place, km / EARTH_KM]}}}))

        def scan(place: Place, km: float) -> list[dict[str, Any]]:
            asked = cities.find({"at": {"$geoWithin": {"$centerSphere": [place, km / EARTH_KM]}}})
            return list(asked.hint([("$natural", 1)]))

        found: dict[int, dict[str, float]] = {}
        for km in RADII_KM:
            found[km] = {Docdb.name: _time(cells, centres, km), SqliteJsonb.name: _time(rtree, centres, km)}
            # The R*Tree keeps its coordinates in 32 bits: at the very edge it may take or leave one.
            assert abs(sum(len(cells(c, km)) - len(rtree(c, km)) for c in centres)) <= len(centres)
        scanned = _time(scan, centres[:2], 25, rounds=1)
        nearest = _time(lambda place, _: _nearest(cities, place), centres, 0)
    others = ", ".join(f"{km} km {t[SqliteJsonb.name] / t[Docdb.name]:.2f}x" for km, t in found.items())
    note = (
        f"{scanned / found[25][Docdb.name]:.0f}x own scan; against the R*Tree: {others}; nearest 10: {nearest:.0f} us; "
        f"index built in {built / len(documents) * 1e6:.1f} us a document"
    )
    return found[25], note


def _nearest(cities: Any, place: Place) -> list[dict[str, Any]]:
    return list(cities.find({"at": {"$near": {"$geometry": {"type": "Point", "coordinates": place}}}}).limit(10))


def _time(ask: Within, centres: list[Place], km: float, rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for place in centres:
            ask(place, km)
        times.append((time.perf_counter() - began) / len(centres) * 1e6)
    return statistics.median(times)


def _rtree(documents: list[dict[str, Any]], folder: Path) -> Within:
    import apsw

    connection = apsw.Connection(str(folder / "cities.sqlite"))
    connection.execute("CREATE VIRTUAL TABLE places USING rtree(id, west, east, south, north)")
    connection.execute("CREATE TABLE cities(id INTEGER PRIMARY KEY, body TEXT)")
    with connection:
        for document in documents:
            x, y = document["at"]["coordinates"]
            connection.execute("INSERT INTO places VALUES (?, ?, ?, ?, ?)", (document["_id"], x, x, y, y))
            connection.execute("INSERT INTO cities VALUES (?, ?)", (document["_id"], json.dumps(document)))
    connection.create_scalar_function("away", _away, 4, deterministic=True)

    def within(place: Place, km: float) -> list[dict[str, Any]]:
        radius = km / EARTH_KM
        x, y = place
        high = math.degrees(radius) * 1.0001
        wide = math.degrees(math.asin(min(1.0, math.sin(radius) / math.cos(math.radians(y))))) * 1.0001
        rows = connection.execute(
            "SELECT body FROM places JOIN cities USING (id) WHERE west >= ? AND east <= ? AND south >= ? AND north <= ? "
            "AND away(west, south, ?, ?) <= ?",
            (x - wide, x + wide, y - high, y + high, x, y, radius),
        )
        return [json.loads(body) for (body,) in rows]

    return within


def _away(x1: float, y1: float, x2: float, y2: float) -> float:
    """Return the angle between two places in radians (haversine)."""
    a, b = math.radians(y1), math.radians(y2)
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(x2 - x1) / 2) ** 2
    return 2 * math.asin(math.sqrt(half))
