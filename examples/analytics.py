"""Questions to a heap of real documents, cell by cell as in a notebook: groups, windows, joins, places.

python examples/analytics.py
"""

import gzip
import json
from pathlib import Path

import docdb
from docdb import command as _

agg = _.aggregate
HERE = Path(__file__).resolve().parent

# %% Cities from a file; coordinates become points.
db = docdb.open(":memory:")
cities = db["cities"]
with gzip.open(HERE / "data" / "cities-sample.json.gz", "rt", encoding="utf-8") as file:
    rows = json.load(file)
cities.insert_many(
    {"name": row["name"], "country": row["country"], "at": docdb.geo.Point(float(row["lng"]), float(row["lat"]))}
    for row in rows
)
cities.create_index("country")
cities.create_index([("at", "2dsphere")])
print(f"{cities.count_documents({}):,} cities")

# %% Which countries have most of them? Grouped in a kernel, over stored bytes.
most = cities.aggregate().group({"_id": "$country", "n": agg.sum(1)}).sort({"n": -1, "_id": 1}).limit(5).end()
for row in most:
    print(f"  {row['_id']}  {row['n']:6,}")

# %% How far north do they go, and where in the ranking does each country stand?
ranked = cities.aggregate(
    [
        {"$group": {"_id": "$country", "north": {"$max": {"$arrayElemAt": ["$at.coordinates", 1]}}, "n": {"$sum": 1}}},
        {"$match": {"n": {"$gte": 20}}},
        {"$setWindowFields": {"sortBy": {"north": -1}, "output": {"rank": {"$rank": {}}}}},
        {"$limit": 3},
    ]
)
for row in ranked:
    print(f"  {row['rank']}. {row['_id']} up to {row['north']:.2f} degrees")

# %% Names that more than one country uses: a group, then a join back to the cities themselves.
shared = cities.aggregate(
    [
        {"$group": {"_id": "$name", "countries": {"$addToSet": "$country"}}},
        {"$match": {"countries.1": {"$exists": True}}},
        {"$sort": {"_id": 1}},
        {"$limit": 3},
        {"$lookup": {"from": "cities", "localField": "_id", "foreignField": "name", "as": "all"}},
        {"$project": {"n": {"$size": "$all"}, "countries": {"$sortArray": {"input": "$countries", "sortBy": 1}}}},
    ]
)
for row in shared:
    print(f"  {row['_id']}: {row['n']} cities in {', '.join(row['countries'])}")

# %% What lies near? The index of cells answers; explain() tells what it touched.
near = {"at": {"$geoWithin": {"$centerSphere": [[10.75, 59.91], 100 / 6378.1]}}}
plan = cities.find(near).explain()
print(
    f"{cities.count_documents(near)} cities within 100 km of Oslo ({plan['access']}, {plan['documents_examined']} documents examined)"
)
db.close()
