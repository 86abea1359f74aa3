"""The ways to change, remove and make documents."""

from __future__ import annotations

from docdb import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from tests.rules.attacks.stage import HOME
from tests.rules.attacks.ways import chosen, entry, notes, options, without_id

# Changing


@entry("update", "filter update array_filters")
def update_one(handle, probe):
    return notes(handle, probe).update_one(probe.filter, probe.update, array_filters=probe.array_filters)


@entry("update", "filter update array_filters")
def update_many(handle, probe):
    return notes(handle, probe).update_many(probe.filter, probe.update, array_filters=probe.array_filters)


@entry("update", "filter update", alone=True)
def update_many_in_steps(handle, probe):
    return notes(handle, probe).update_many(probe.filter, probe.update, batch=1)


@entry("update", "filter program")
def update_by_program(handle, probe):
    return notes(handle, probe).update_many(probe.filter, probe.program)


@entry("update", "filter update")
def update_one_or_insert(handle, probe):
    return notes(handle, probe).update_one(probe.filter, probe.update, upsert=True)


@entry("update", "filter update")
def where_update(handle, probe):
    return chosen(handle, probe).update(probe.update)


@entry("update", "filter update")
def where_update_first(handle, probe):
    return notes(handle, probe).where(probe.filter).options(multiple=False).update(probe.update)


@entry("update", "filter update order")
def update_and_return(handle, probe):
    return chosen(handle, probe).update_and_return(probe.update)


@entry("update", "filter update order fields")
def find_one_and_update(handle, probe):
    method = notes(handle, probe).find_one_and_update
    return method(probe.filter, probe.update, probe.fields, sort=list(probe.order))


@entry("update", "filter update fields")
def find_one_and_update_after(handle, probe):
    method = notes(handle, probe).find_one_and_update
    return method(probe.filter, probe.update, probe.fields, return_document=True)


@entry("update", "filter document")
def replace_one(handle, probe):
    return notes(handle, probe).replace_one(probe.filter, without_id(probe.document))


@entry("update", "filter document")
def replace_one_or_insert(handle, probe):
    return notes(handle, probe).replace_one(probe.filter, without_id(probe.document), upsert=True)


@entry("update", "filter document fields")
def find_one_and_replace(handle, probe):
    return notes(handle, probe).find_one_and_replace(probe.filter, without_id(probe.document), probe.fields)


@entry("update", "filter update")
def bulk_update(handle, probe):
    return notes(handle, probe).bulk_write(
        [UpdateOne(probe.filter, probe.update), UpdateMany(probe.filter, probe.update)]
    )


@entry("update", "filter document")
def bulk_replace(handle, probe):
    return notes(handle, probe).bulk_write([ReplaceOne(probe.filter, without_id(probe.document))], ordered=False)


@entry("update", "id update")
def doc_update(handle, probe):
    return notes(handle, probe).doc(probe.id).update(probe.update)


@entry("update", "id document")
def doc_set(handle, probe):
    return notes(handle, probe).doc(probe.id).set(without_id(probe.document))


@entry("update", "id update")
def update_by_id(handle, probe):
    return notes(handle, probe).update_one({"_id": probe.id}, probe.update)


@entry("update", "id update")
def update_by_id_or_insert(handle, probe):
    return notes(handle, probe).update_one({"_id": probe.id}, probe.update, upsert=True)


@entry("update", "id update")
def find_one_and_update_by_id(handle, probe):
    return notes(handle, probe).find_one_and_update({"_id": probe.id}, probe.update)


# Removing


@entry("delete", "filter")
def delete_one(handle, probe):
    return notes(handle, probe).delete_one(probe.filter, **options(probe))


@entry("delete", "filter")
def delete_many(handle, probe):
    return notes(handle, probe).delete_many(probe.filter, **options(probe))


@entry("delete", "filter", alone=True)
def delete_many_in_steps(handle, probe):
    return notes(handle, probe).delete_many(probe.filter, batch=1)


@entry("delete", "filter")
def where_remove(handle, probe):
    return chosen(handle, probe).remove()


@entry("delete", "filter")
def where_delete(handle, probe):
    return chosen(handle, probe).delete()


@entry("delete", "filter order fields")
def find_one_and_delete(handle, probe):
    return notes(handle, probe).find_one_and_delete(probe.filter, probe.fields, sort=list(probe.order))


@entry("delete", "filter")
def bulk_delete(handle, probe):
    return notes(handle, probe).bulk_write([DeleteOne(probe.filter), DeleteMany(probe.filter)])


@entry("delete", "id")
def doc_remove(handle, probe):
    return notes(handle, probe).doc(probe.id).remove()


@entry("delete", "id")
def doc_delete(handle, probe):
    return notes(handle, probe).doc(probe.id).delete()


@entry("delete", "id")
def delete_by_id(handle, probe):
    return notes(handle, probe).delete_one({"_id": probe.id})


# Making


@entry("create", "document")
def insert_one(handle, probe):
    return notes(handle, probe).insert_one(dict(probe.document))


@entry("create", "document")
def insert_many(handle, probe):
    return notes(handle, probe).insert_many([dict(probe.document)])


@entry("create", "document", alone=True)
def insert_many_in_steps(handle, probe):
    """The way an import takes."""
    return notes(handle, probe).insert_many(iter([dict(probe.document)]), batch=1)


@entry("create", "document")
def add(handle, probe):
    return notes(handle, probe).add(dict(probe.document))


@entry("create", "document")
def add_list(handle, probe):
    return notes(handle, probe).add([dict(probe.document)])


@entry("create", "document")
def bulk_insert(handle, probe):
    return notes(handle, probe).bulk_write([InsertOne(dict(probe.document))])


@entry("create", "document")
def bulk_replace_or_insert(handle, probe):
    request = ReplaceOne({"_id": probe.document.get("_id")}, without_id(probe.document), upsert=True)
    return notes(handle, probe).bulk_write([request])


@entry("create", "document")
def set_new(handle, probe):
    return notes(handle, probe).doc(probe.document.get("_id")).set(without_id(probe.document))


@entry("create", "document")
def upsert_new(handle, probe):
    fields = without_id(probe.document)
    return notes(handle, probe).update_one({"_id": probe.document.get("_id")}, {"$setOnInsert": fields}, upsert=True)


@entry("create", "document")
def merge(handle, probe):
    stages = [{"$replaceWith": {"$literal": dict(probe.document)}}, {"$merge": {"into": probe.collection}}]
    return list(handle.collection(HOME).aggregate(stages))


@entry("create", "document")
def out(handle, probe):
    stages = [{"$replaceWith": {"$literal": dict(probe.document)}}, {"$out": probe.collection}]
    return list(handle.collection(HOME).aggregate(stages))
