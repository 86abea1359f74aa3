"""Random documents and pipelines over few names, so that they meet."""

from hypothesis import strategies as st

NAMES = ("a", "b", "c", "d")
BELOW = ("x", "y")
NAMED = [*NAMES, *(f"{name}.{below}" for name in NAMES[:3] for below in BELOW)]
PATHS = [*NAMED, "a.x.y", "a.0", "b.1.x"]

scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "p", "q"]), st.just(1.5))
objects = st.fixed_dictionaries(
    {}, optional={"x": scalars | st.fixed_dictionaries({}, optional={"y": scalars}), "y": scalars}
)
values = scalars | objects | st.lists(scalars | objects, max_size=3)
documents = st.lists(
    st.fixed_dictionaries(dict.fromkeys(NAMES[:2], values), optional=dict.fromkeys(NAMES[2:], values)),
    min_size=1,
    max_size=4,
).map(lambda found: [{"_id": at, **document} for at, document in enumerate(found)])

paths = st.sampled_from(PATHS)
expressions = st.recursive(
    paths.map(lambda path: f"${path}")
    | scalars.map(lambda value: {"$literal": value})
    | st.sampled_from(["$$ROOT.a", "$$CURRENT.b.x", "$_id"])
    | st.sampled_from(NAMES).map(lambda name: {"$getField": name})
    | paths.map(lambda path: {"$getField": {"field": "x", "input": f"${path}"}}),
    lambda inner: st.one_of(
        st.tuples(
            st.sampled_from(["$eq", "$lt", "$ifNull", "$setUnion", "$mergeObjects", "$concatArrays"]), inner, inner
        ).map(lambda made: {made[0]: list(made[1:])}),
        st.tuples(st.sampled_from(["$isArray", "$type", "$toString", "$first", "$size", "$objectToArray"]), inner).map(
            lambda made: {made[0]: [made[1]]}
        ),
        st.tuples(inner, inner, inner).map(lambda made: {"$cond": list(made)}),
        st.tuples(inner, inner).map(
            lambda made: {"$let": {"vars": {"v": made[0]}, "in": {"k": "$$v.x", "l": made[1]}}}
        ),
        st.tuples(inner, inner).map(lambda made: {"$let": {"vars": {"CURRENT": made[0]}, "in": made[1]}}),
        st.tuples(inner, inner).map(
            lambda made: {"$map": {"input": made[0], "as": "m", "in": ["$$m", "$$m.x", made[1]]}}
        ),
        st.tuples(inner, inner).map(
            lambda made: {"$filter": {"input": made[0], "cond": {"$eq": ["$$this.x", made[1]]}}}
        ),
        st.tuples(inner).map(lambda made: {"$sortArray": {"input": made[0], "sortBy": {"x": 1}}}),
        st.tuples(inner, inner).map(lambda made: {"$setField": {"field": "x", "input": made[0], "value": made[1]}}),
        st.tuples(inner, inner).map(lambda made: {"p": made[0], "q": made[1]}),
        st.tuples(inner, inner).map(list),
    ),
    max_leaves=4,
)

leaves = st.one_of(
    scalars,
    st.sampled_from(
        [{"$gt": 0}, {"$exists": True}, {"$exists": False}, {"$type": "array"}, {"$size": 1}, {"$in": [1, "p", None]}]
    ),
    st.sampled_from([{"$not": {"$gte": 1}}, {"$elemMatch": {"x": 1}}, {"$elemMatch": {"$gt": 0}}, {"$all": [1, "p"]}]),
    st.sampled_from([{"$all": [{"$elemMatch": {"y": {"$ne": 1}}}]}, {"$regex": "p"}, {"x": 1}, {"$mod": [2, 0]}]),
    st.sampled_from([{"$elemMatch": {"$or": [{"x": 1}, {"y": 2}]}}, {"$bitsAllSet": 1}]),
)
filters = st.recursive(
    st.dictionaries(paths, leaves, max_size=2) | expressions.map(lambda spec: {"$expr": spec}),
    lambda inner: st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=2)).map(
        lambda made: {made[0]: made[1]}
    ),
    max_leaves=3,
)
sorts = st.dictionaries(paths, st.sampled_from([1, -1]), min_size=1, max_size=2)
accumulators = st.one_of(
    st.tuples(st.sampled_from(["$sum", "$max", "$first", "$last", "$addToSet", "$push", "$avg"]), expressions).map(
        lambda made: {made[0]: made[1] if not isinstance(made[1], list) else {"l": made[1]}}
    ),
    st.tuples(sorts, expressions).map(lambda made: {"$top": {"sortBy": made[0], "output": made[1]}}),
    expressions.map(lambda spec: {"$firstN": {"input": spec, "n": 2}}),
)
tops = st.sampled_from(NAMES)
wheres = st.sampled_from(["a", "b", "c", "d", "e", "a.x", "e.x"])
shapes = st.one_of(
    st.dictionaries(wheres, expressions, min_size=1, max_size=2),
    st.tuples(tops, expressions).map(lambda made: {made[0]: {"x": made[1]}}),
)
KINDS = [
    filters.map(lambda spec: {"$match": spec}),
    shapes.map(lambda spec: {"$set": spec}),
    paths.map(lambda path: {"$set": {"e": f"${path}"}}),
    st.dictionaries(wheres, st.just(1) | expressions, min_size=1, max_size=3).map(lambda spec: {"$project": spec}),
    st.dictionaries(wheres, st.just(0), min_size=1, max_size=2).map(lambda spec: {"$project": spec}),
    wheres.map(lambda path: {"$unset": path}),
    sorts.map(lambda spec: {"$sort": spec}),
    st.sampled_from([{"$limit": 2}, {"$skip": 1}]),
    st.tuples(paths, st.booleans()).map(
        lambda made: {"$unwind": {"path": f"${made[0]}", "preserveNullAndEmptyArrays": made[1], "includeArrayIndex": "i"}}
    ),
    expressions.map(lambda spec: {"$replaceWith": {"$mergeObjects": [{"_id": 1}, {"$cond": [{"$eq": [{"$type": spec}, "object"]}, spec, {}]}]}}),
    tops.map(lambda name: {"$replaceRoot": {"newRoot": f"${name}"}}),
    st.tuples(expressions, tops, accumulators).map(lambda made: {"$group": {"_id": made[0], made[1]: made[2]}}),
    st.tuples(expressions, accumulators).map(
        lambda made: {"$bucketAuto": {"groupBy": {"$ifNull": [made[0], None]}, "buckets": 2, "output": {"output": made[1]}}}
    ),
    expressions.map(lambda spec: {"$sortByCount": {"$ifNull": [spec, 0]}}),
    st.just({"$count": "n"}),
    st.tuples(tops, accumulators, sorts).map(
        lambda made: {"$setWindowFields": {"partitionBy": f"${made[0]}", "sortBy": made[2], "output": {"a": made[1]}}}
    ),
    st.tuples(tops, tops).map(
        lambda made: {"$setWindowFields": {"sortBy": {made[0]: 1}, "output": {"r": {"$rank": {}}, "b": {"$locf": f"${made[1]}"}}}}
    ),
    st.tuples(tops, tops, expressions).map(
        lambda made: {"$fill": {"partitionByFields": [made[0]], "sortBy": {made[1]: 1}, "output": {"b": {"value": made[2]}, "c": {"method": "locf"}}}}
    ),
    st.tuples(paths, paths, wheres).map(
        lambda made: {"$lookup": {"from": "other", "localField": made[0], "foreignField": made[1], "as": made[2]}}
    ),
    st.tuples(expressions, expressions, wheres).map(
        lambda made: {
            "$lookup": {
                "from": "other",
                "let": {"v": made[0]},
                "pipeline": [{"$match": {"$expr": {"$eq": ["$$v", made[1]]}}}, {"$project": {"a": 1}}],
                "as": made[2],
            }
        }
    ),
    st.tuples(expressions, tops, filters, wheres).map(
        lambda made: {
            "$graphLookup": {
                "from": "other",
                "startWith": made[0],
                "connectFromField": made[1],
                "connectToField": "a",
                "restrictSearchWithMatch": made[2],
                "as": made[3],
            }
        }
    ),
    st.tuples(tops, tops).map(lambda made: {"$unionWith": {"coll": "other", "pipeline": [{"$project": {made[0]: 1, made[1]: 1}}]}}),
    expressions.map(lambda spec: {"$redact": {"$cond": [spec, "$$DESCEND", "$$PRUNE"]}}),
]  # fmt: skip
stages = st.one_of(*KINDS)
closing = st.one_of(
    st.dictionaries(wheres, st.just(1) | expressions, min_size=1, max_size=2).map(lambda spec: [{"$project": spec}]),
    st.tuples(expressions, accumulators).map(lambda made: [{"$group": {"_id": made[0], "n": made[1]}}]),
    st.just([{"$count": "n"}]),
    st.just([]),
)
# One kind of stage after the other, with little behind it: what it reads has no other reason to be in the set.
views = st.one_of(
    st.just([{"$count": "n"}]),
    wheres.map(lambda path: [{"$project": {path: 1, "_id": 0}}]),
    tops.map(lambda name: [{"$group": {"_id": None, "n": {"$push": {"e": f"${name}"}}}}]),
    st.just([{"$project": {"e": 1, "i": 1, "r": 1, "n": 1, "output": 1, "_id": 1}}]),
)
pipelines = st.tuples(
    st.lists(stages, max_size=2),
    st.none() | st.lists(stages, max_size=1).map(lambda inner: {"$facet": {"f": inner, "g": [{"$project": {"b": 1}}]}}),
    closing,
).map(lambda made: [*made[0], *([made[1]] if made[1] else []), *made[2]])
