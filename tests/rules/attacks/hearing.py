"""The ways to hear of changes, and those through a transaction's references."""

from __future__ import annotations

from tests.rules.attacks.ways import chosen, entry, notes, without_id

# Hearing of changes


def heard(feed):
    """Return what a feed has to say at once."""
    found = []
    try:
        while (item := feed.try_next()) is not None and len(found) < 50:
            found.append(told(item))
    finally:
        feed.close()
    return found


def told(item):
    """Return an item without its position, which is another in each database."""
    if hasattr(item, "docs"):
        return {"docs": list(item.docs), "changes": [(change.data_type, change.doc) for change in item.doc_changes]}
    if isinstance(item, dict):
        return {name: value for name, value in item.items() if name not in ("_id", "clusterTime", "wallTime")}
    return {name: getattr(item, name, None) for name in ("operation", "collection", "before", "after")}


@entry("feed", "filter", alone=True)
def where_watch(handle, probe):
    return heard(chosen(handle, probe).watch())


@entry("feed", "filter order fields", alone=True)
def where_watch_shaped(handle, probe):
    name, way = probe.order[0]
    return heard(notes(handle, probe).where(probe.filter).order_by(name, way).limit(2).watch())


@entry("feed", "filter", alone=True)
def where_live(handle, probe):
    return heard(chosen(handle, probe).live())


@entry("feed", "id", alone=True)
def doc_watch(handle, probe):
    return heard(notes(handle, probe).doc(probe.id).watch())


@entry("feed", "id", alone=True)
def doc_live(handle, probe):
    return heard(notes(handle, probe).doc(probe.id).live())


@entry("feed", "filter", alone=True)
def changes(handle, probe):
    return heard(notes(handle, probe).changes(probe.filter, from_="oldest"))


@entry("feed", "collection", alone=True)
def watch(handle, probe):
    return heard(notes(handle, probe).watch([{"$match": {}}]))


@entry("feed", "collection", alone=True)
def database_changes(handle, probe):
    return heard(handle.changes(from_="oldest"))


@entry("feed", "collection", alone=True)
def database_watch(handle, probe):
    return heard(handle.watch())


# In a transaction, by references


@entry("point", "id", alone=True)
def transaction_get(handle, probe):
    reference = notes(handle, probe).doc(probe.id)
    with handle.transaction() as t:
        return t.get(reference)


@entry("update", "id document", alone=True)
def transaction_set(handle, probe):
    reference = notes(handle, probe).doc(probe.id)
    with handle.transaction() as t:
        return t.set(reference, without_id(probe.document))


@entry("update", "id update", alone=True)
def transaction_update(handle, probe):
    reference = notes(handle, probe).doc(probe.id)
    with handle.transaction() as t:
        return t.update(reference, probe.update)


@entry("delete", "id", alone=True)
def transaction_remove(handle, probe):
    reference = notes(handle, probe).doc(probe.id)
    t = handle.start_transaction()
    try:
        return [t.remove(reference), t.commit()][0]
    finally:
        t.rollback() if t.active else None


@entry("delete", "id", alone=True)
def transaction_delete(handle, probe):
    reference = notes(handle, probe).doc(probe.id)
    return handle.run_transaction(lambda t: t.delete(reference))
