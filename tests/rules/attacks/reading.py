"""The ways to read: documents, parts of them, numbers, joins, plans."""

from __future__ import annotations

from tests.rules.attacks.stage import HOME
from tests.rules.attacks.ways import chosen, entry, notes, options

# Reading many


@entry("read", "filter")
def find(handle, probe):
    return list(notes(handle, probe).find(probe.filter, **options(probe)))


@entry("read", "filter fields")
def find_projected(handle, probe):
    return list(notes(handle, probe).find(probe.filter, probe.fields, **options(probe)))


@entry("read", "filter order")
def find_sorted(handle, probe):
    return list(notes(handle, probe).find(probe.filter).sort(list(probe.order)))


@entry("read", "filter order")
def find_sorted_and_limited(handle, probe):
    return [list(notes(handle, probe).find(probe.filter).sort(list(probe.order)).skip(n).limit(1)) for n in range(3)]


@entry("read", "filter order")
def find_by_option(handle, probe):
    return list(notes(handle, probe).find(probe.filter, probe.fields, 0, 5, sort=list(probe.order)))


@entry("read", "filter")
def find_pages(handle, probe):
    page = notes(handle, probe).find(probe.filter).limit(1).after("")
    return [list(page), page.token is None]


@entry("read", "filter")
def find_following(handle, probe):
    return list(notes(handle, probe).find(probe.filter).sort("_id", 1).follow())


@entry("read", "filter")
def find_by_place(handle, probe):
    return notes(handle, probe).find(probe.filter)[0:5].to_list(2)


@entry("read", "filter")
def find_cloned(handle, probe):
    with notes(handle, probe).find(probe.filter).clone().rewind() as cursor:
        return next(cursor, None)


@entry("read", "filter")
def find_one(handle, probe):
    return notes(handle, probe).find_one(probe.filter, **options(probe))


@entry("read", "filter fields order")
def find_one_ordered(handle, probe):
    return notes(handle, probe).find_one(probe.filter, probe.fields, sort=list(probe.order))


@entry("read", "filter")
def where_get(handle, probe):
    return chosen(handle, probe).get()


@entry("read", "filter")
def where_first(handle, probe):
    return chosen(handle, probe).first()


@entry("read", "filter")
def where_iterated(handle, probe):
    return list(chosen(handle, probe))


@entry("read", "filter fields order")
def where_shaped(handle, probe):
    query = chosen(handle, probe).field(probe.fields or {"text": 1})
    for name, way in probe.order:
        query = query.order_by(name, way)
    return list(query.skip(0).limit(5).cursor())


@entry("read", "filter")
def where_options(handle, probe):
    return notes(handle, probe).where(probe.filter).options(raw=True, limit=5).get()


@entry("read", "filter order")
def where_pages(handle, probe):
    query = chosen(handle, probe)
    for name, way in probe.order:
        query = query.order_by(name, way)
    page = query.limit(1).after("").get()
    return [page.data, page.token is None]


@entry("read", "order")
def collection_ordered(handle, probe):
    name, way = probe.order[0]
    return notes(handle, probe).order_by(name, way).get()


@entry("read", "fields")
def collection_fields(handle, probe):
    return notes(handle, probe).field(probe.fields or {"text": 1}).get()


@entry("read", "collection")
def collection_get(handle, probe):
    return notes(handle, probe).get()


@entry("read", "collection")
def collection_part(handle, probe):
    return [notes(handle, probe).limit(2).get(), notes(handle, probe).skip(1).get()]


@entry("read", "filter key")
def distinct(handle, probe):
    return notes(handle, probe).distinct(probe.key, probe.filter, **options(probe))


@entry("read", "filter key")
def where_distinct(handle, probe):
    return chosen(handle, probe).distinct(probe.key)


@entry("read", "filter key")
def find_distinct(handle, probe):
    return notes(handle, probe).find(probe.filter).distinct(probe.key)


# Tables


@entry("read", "filter")
def where_to_arrow(handle, probe):
    return chosen(handle, probe).to_arrow().to_pylist()


@entry("read", "filter")
def where_to_arrow_reader(handle, probe):
    return chosen(handle, probe).to_arrow_reader().read_all().to_pylist()


@entry("read", "filter order")
def find_to_arrow(handle, probe):
    return notes(handle, probe).find(probe.filter).sort(list(probe.order)).to_arrow().to_pylist()


@entry("read", "filter")
def find_to_arrow_reader(handle, probe):
    return notes(handle, probe).find(probe.filter).to_arrow_reader().read_all().to_pylist()


@entry("read", "filter")
def aggregate_to_arrow(handle, probe):
    return notes(handle, probe).aggregate([{"$match": probe.filter}, {"$sort": {"_id": 1}}]).to_arrow().to_pylist()


@entry("read", "filter")
def aggregate_built_to_arrow(handle, probe):
    return notes(handle, probe).aggregate().match(probe.filter).to_arrow().to_pylist()


@entry("read", "filter fields")
def where_to_polars(handle, probe):
    return notes(handle, probe).where(probe.filter).field(probe.fields or {"text": 1}).to_polars().to_dicts()


@entry("read", "filter")
def where_to_pandas(handle, probe):
    return chosen(handle, probe).to_pandas().to_dict("records")


@entry("read", "filter")
def find_to_polars(handle, probe):
    return notes(handle, probe).find(probe.filter).to_polars().to_dicts()


@entry("read", "filter")
def find_to_pandas(handle, probe):
    return notes(handle, probe).find(probe.filter).to_pandas().to_dict("records")


@entry("read", "filter")
def aggregate_to_polars(handle, probe):
    return notes(handle, probe).aggregate([{"$match": probe.filter}]).to_polars().to_dicts()


# Counting


@entry("count", "collection")
def count(handle, probe):
    return notes(handle, probe).count()


@entry("count", "filter")
def where_count(handle, probe):
    return chosen(handle, probe).count()


@entry("count", "filter")
def count_documents(handle, probe):
    return notes(handle, probe).count_documents(probe.filter, **options(probe))


@entry("count", "filter")
def count_documents_bounded(handle, probe):
    return notes(handle, probe).count_documents(probe.filter, skip=1, limit=1)


@entry("count", "collection")
def estimated_document_count(handle, probe):
    return notes(handle, probe).estimated_document_count()


# One by its _id


@entry("point", "id")
def doc_get(handle, probe):
    return notes(handle, probe).doc(probe.id).get()


@entry("point", "id fields")
def doc_get_fields(handle, probe):
    return notes(handle, probe).doc(probe.id).field(probe.fields or {"text": 1}).get()


@entry("point", "id")
def find_one_by_id(handle, probe):
    return notes(handle, probe).find_one(probe.id)


@entry("point", "id")
def find_one_by_id_filter(handle, probe):
    return notes(handle, probe).find_one({"_id": probe.id})


@entry("point", "id")
def find_by_id(handle, probe):
    return list(notes(handle, probe).find({"_id": {"$eq": probe.id}}))


@entry("point", "id")
def find_by_id_in_one(handle, probe):
    return list(notes(handle, probe).find({"_id": {"$in": [probe.id]}}))


@entry("point", "id")
def find_by_id_and(handle, probe):
    return list(notes(handle, probe).find({"$and": [{"_id": probe.id}, {"text": {"$exists": True}}]}))


@entry("point", "id")
def where_by_id(handle, probe):
    return notes(handle, probe).where({"_id": probe.id}).get()


@entry("point", "id")
def count_by_id(handle, probe):
    return notes(handle, probe).count_documents({"_id": probe.id})


@entry("point", "id key")
def distinct_by_id(handle, probe):
    return notes(handle, probe).distinct(probe.key, {"_id": probe.id})


@entry("point", "id")
def aggregate_by_id(handle, probe):
    return list(notes(handle, probe).aggregate([{"$match": {"_id": probe.id}}]))


# Aggregation


def ran(handle, probe, *stages):
    return list(notes(handle, probe).aggregate([{"$match": probe.filter}, *stages], **options(probe)))


@entry("read", "filter")
def aggregate_match(handle, probe):
    return ran(handle, probe)


@entry("read", "filter")
def aggregate_built(handle, probe):
    return notes(handle, probe).aggregate().match(probe.filter).sort({"_id": 1}).end()


@entry("read", "filter")
def aggregate_built_cursor(handle, probe):
    return list(notes(handle, probe).aggregate().match(probe.filter).limit(5).cursor())


@entry("count", "filter")
def aggregate_count(handle, probe):
    return ran(handle, probe, {"$count": "n"})


@entry("read", "filter key")
def aggregate_group(handle, probe):
    return ran(handle, probe, {"$group": {"_id": f"${probe.key}", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}})


@entry("read", "filter key")
def aggregate_sort_by_count(handle, probe):
    return ran(handle, probe, {"$sortByCount": f"${probe.key}"})


@entry("read", "filter")
def aggregate_facet(handle, probe):
    return list(notes(handle, probe).aggregate([{"$facet": {"all": [{"$match": probe.filter}]}}]))


@entry("read", "filter")
def aggregate_sample(handle, probe):
    return ran(handle, probe, {"$sample": {"size": 50}}, {"$sort": {"_id": 1}})


@entry("read", "filter")
def aggregate_set_then_match(handle, probe):
    stages = [{"$set": {"shown": "$$ROOT"}}, {"$match": probe.filter}]
    return list(notes(handle, probe).aggregate(stages))


@entry("read", "id collection")
def lookup_by_field(handle, probe):
    spec = {"from": probe.collection, "localField": "to", "foreignField": "_id", "as": "found"}
    return list(handle.collection(HOME).aggregate([{"$lookup": spec}]))


@entry("read", "filter")
def lookup_by_pipeline(handle, probe):
    spec = {"from": probe.collection, "pipeline": [{"$match": probe.filter}], "as": "found"}
    return list(handle.collection(HOME).aggregate([{"$lookup": spec}]))


@entry("read", "filter")
def lookup_by_let(handle, probe):
    spec = {
        "from": probe.collection, "let": {"to": "$to"}, "as": "found",
        "pipeline": [{"$match": probe.filter}, {"$set": {"asked": "$$to"}}],
    }  # fmt: skip
    return list(handle.collection(HOME).aggregate([{"$lookup": spec}]))


@entry("read", "filter id")
def lookup_by_field_and_pipeline(handle, probe):
    spec = {
        "from": probe.collection, "localField": "to", "foreignField": "_id", "as": "found",
        "pipeline": [{"$match": probe.filter}],
    }  # fmt: skip
    return list(handle.collection(HOME).aggregate([{"$lookup": spec}, {"$unwind": "$found"}]))


@entry("read", "filter")
def lookup_inside_facet(handle, probe):
    spec = {"from": probe.collection, "pipeline": [{"$match": probe.filter}], "as": "found"}
    return list(handle.collection(HOME).aggregate([{"$facet": {"part": [{"$lookup": spec}]}}]))


@entry("read", "filter")
def lookup_inside_lookup(handle, probe):
    inner = {"from": probe.collection, "pipeline": [{"$match": probe.filter}], "as": "found"}
    outer = {"from": HOME, "pipeline": [{"$lookup": inner}], "as": "outer"}
    return list(handle.collection(HOME).aggregate([{"$lookup": outer}]))


@entry("read", "filter", alone=False)
def lookup_from_documents(handle, probe):
    spec = {"from": probe.collection, "pipeline": [{"$match": probe.filter}], "as": "found"}
    return list(handle.aggregate([{"$documents": [{"to": probe.id}]}, {"$lookup": spec}]))


@entry("read", "filter id")
def graph_lookup(handle, probe):
    spec = {
        "from": probe.collection, "startWith": "$to", "connectFromField": "text", "connectToField": "_id", "as": "found",
        "restrictSearchWithMatch": probe.filter,
    }  # fmt: skip
    return list(handle.collection(HOME).aggregate([{"$graphLookup": spec}]))


@entry("read", "collection")
def union_with(handle, probe):
    return list(handle.collection(HOME).aggregate([{"$unionWith": probe.collection}]))


@entry("read", "filter")
def union_with_pipeline(handle, probe):
    spec = {"coll": probe.collection, "pipeline": [{"$match": probe.filter}]}
    return list(handle.collection(HOME).aggregate([{"$unionWith": spec}]))


@entry("read", "filter")
def union_inside_union(handle, probe):
    inner = {"$unionWith": {"coll": probe.collection, "pipeline": [{"$match": probe.filter}]}}
    return list(handle.collection(HOME).aggregate([{"$unionWith": {"coll": HOME, "pipeline": [inner]}}]))


@entry("pipeline", "stages")
def pipeline(handle, probe):
    return list(notes(handle, probe).aggregate(list(probe.stages)))


@entry("writing pipeline", "")
def pipeline_that_writes(handle, probe):
    return list(notes(handle, probe).aggregate(list(probe.stages)))


@entry("pipeline", "stages")
def pipeline_inside_lookup(handle, probe):
    spec = {"from": probe.collection, "pipeline": list(probe.stages), "as": "found"}
    return list(handle.collection(HOME).aggregate([{"$lookup": spec}]))


@entry("pipeline", "stages")
def pipeline_inside_union(handle, probe):
    spec = {"coll": probe.collection, "pipeline": list(probe.stages)}
    return list(handle.collection(HOME).aggregate([{"$unionWith": spec}]))


@entry("pipeline", "stages")
def pipeline_inside_facet(handle, probe):
    return list(notes(handle, probe).aggregate([{"$facet": {"part": list(probe.stages)}}]))


# How it is done


@entry("explain", "filter")
def where_explain(handle, probe):
    return chosen(handle, probe).explain()


@entry("explain", "filter")
def find_explain(handle, probe):
    return notes(handle, probe).find(probe.filter).comment("why").explain()


@entry("explain", "filter")
def aggregate_explain(handle, probe):
    return notes(handle, probe).aggregate().match(probe.filter).explain()
