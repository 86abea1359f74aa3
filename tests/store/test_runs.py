"""Runs: the kernel's against the reference form, and both roads of an insert against each other on every engine."""

import random
from collections import UserDict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import docdb
from docdb import _native
from docdb.engine import lmdb as lmdb_engine
from docdb.engine.base import CATALOG, CHANGES, DOCUMENTS, ENTRIES, Engine
from docdb.engine.memory import MemoryEngine
from docdb.errors import BulkWriteError, DocumentError
from docdb.language.filters import parse
from docdb.language.order import order_key
from docdb.language.programs import compile_program
from docdb.store import codec, records
from docdb.store.catalog import IndexInfo
from docdb.store.changes import END_INDEX
from docdb.store.keyspace import EntryMaker, EntrySpec
from docdb.store.runs import DocumentList, Documents, PairRun, gather, prepare_run
from docdb.store.store import Store
from tests.store.values import paths, shapes, values

needs_kernel = pytest.mark.skipif(
    not _native.AVAILABLE, reason="compares the kernel, which is switched off or was not built"
)
END = END_INDEX.to_bytes(4, "big")


def stored(documents: list[dict]) -> tuple[list[bytes], list[bytes]]:
    rows = [codec.reference_prepare(document) for document in documents]
    return [row[1] for row in rows], [row[2] for row in rows]


def both(documents: list[dict], number: int = 9) -> tuple[Documents, Documents]:
    id_keys, datas = stored(documents)
    return gather(number, id_keys, datas), DocumentList(id_keys, datas)


def same_runs(left, right) -> None:
    assert list(left) == list(right)
    assert (len(left), left.total_bytes, left.cut, left.multikey) == (
        len(right),
        right.total_bytes,
        right.cut,
        right.multikey,
    )


ids = st.one_of(st.integers(-5, 300), st.text(max_size=12), st.binary(max_size=5))
documents = st.lists(st.builds(lambda id, shape: {"_id": id, **shape}, ids, shapes), max_size=40)
fields = st.lists(st.tuples(paths, st.sampled_from([1, -1])), min_size=1, max_size=2, unique_by=lambda f: f[0]).map(
    tuple
)


@needs_kernel
@settings(max_examples=200, deadline=None)
@given(documents)
def test_documents_and_changes_are_the_reference_s(documents):
    fast, slow = both(documents)
    assert fast.lists() == slow.lists()
    assert (len(fast), fast.data_bytes) == (len(slow), slow.data_bytes)
    for number in (9, 3):
        assert list(fast.documents(number)) == list(slow.documents(number))
        assert list(fast.changes(number, 77, 5)) == list(slow.changes(number, 77, 5))


@needs_kernel
@settings(max_examples=300, deadline=None)
@given(documents, fields, st.booleans(), st.booleans(), st.none() | ids.map(order_key))
def test_entries_are_the_reference_s(documents, fields, unique, sparse, upto):
    index = IndexInfo(4, "i", fields, unique=unique, sparse=sparse)
    unlike = list({order_key(document["_id"]): document for document in documents}.values())
    fast, slow = both(unlike)
    try:
        expected = records.entries_run(index, slow, upto)
    except DocumentError:
        with pytest.raises(DocumentError):
            records.entries_run(index, fast)
        return
    made = records.entries_run(index, fast, upto)
    same_runs(made, expected)
    assert made.collides() == expected.collides()


@needs_kernel
def test_a_partial_index_takes_the_same_documents():
    documents = [{"_id": i, "a": i % 7, "b": [i, i + 1]} for i in range(200)]
    index = IndexInfo(4, "i", ((("b",), 1),), partial={"a": {"$gt": 3}})
    fast, slow = both(documents)
    made = records.entries_run(index, fast)
    assert type(made) is _native.runs.Run
    same_runs(made, records.entries_run(index, slow))


@needs_kernel
@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9, 16, 17, 1_000, 5_003])
@pytest.mark.parametrize("stem", ["", "the same beginning "], ids=["plain", "stem"])
def test_any_number_of_rows_is_sorted(size, stem):
    chance = random.Random(size)
    spec = EntrySpec(1, ((("a",), 1),))
    documents = [{"_id": i, "a": stem + "".join(chance.choices("a\0é", k=chance.randrange(12)))} for i in range(size)]
    fast, slow = both(chance.sample(documents, size))
    assert list(fast.documents(9)) == list(slow.documents(9))
    same_runs(
        EntryMaker(spec).run(fast),
        PairRun(e for k, d in zip(*slow.lists(), strict=True) for e in EntryMaker(spec).entries(k, d)),
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), max_size=6))
def test_prepare_run_gives_what_prepare_gives(documents):
    def prepare(document):
        return codec.reference_prepare(document)

    def outcome(work):
        try:
            return work()
        except DocumentError as error:
            return str(error)

    documents = [{"_id": i, **document} for i, document in enumerate(documents)]
    expected = outcome(lambda: [prepare(document) for document in documents])
    made = outcome(lambda: prepare_run(documents, False, 3, prepare))
    if isinstance(expected, str):
        assert made == expected
    else:
        ids, run = made
        assert repr(ids) == repr([row[0] for row in expected])
        assert run.lists() == ([row[1] for row in expected], [row[2] for row in expected])


def test_what_the_kernel_declines_is_asked_for():
    asked = []

    def prepare(document):
        asked.append(document)
        return codec.reference_prepare({"_id": 2, "instead": True})

    ids, made = prepare_run([{"_id": 1}, {"_id": 5, "a.b": 1}, {"_id": 3}], False, 1, prepare)
    assert ids[1] == 2
    assert [codec.decode(data) for data in made.lists()[1]][1] == {"_id": 2, "instead": True}
    assert {"_id": 5, "a.b": 1} in asked


@pytest.fixture(params=["memory", "lmdb", "native"])
def engines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    """Two empty engines of a kind."""
    made: list[Engine] = []
    for name in ("first", "second"):
        if request.param == "memory":
            made.append(MemoryEngine())
            continue
        if request.param == "native" and lmdb_engine._native_engine(None) is None:
            pytest.skip("the compiled engine is not used here")
        made.append(lmdb_engine.open_engine(tmp_path / name, native=request.param == "native"))
    yield made[0], made[1]
    for engine in made:
        engine.close()


def contents(engine: Engine) -> list[list[tuple[bytes, bytes]]]:
    """All pairs of all spaces, but for the clock in the log and what differs from store to store."""
    txn = engine.begin()
    spaces = [
        [pair for batch in txn.scan(space, b"", b"\xff" * 512) for pair in batch]
        for space in (DOCUMENTS, ENTRIES, CHANGES, CATALOG)
    ]
    txn.abort()
    spaces[2] = [(key, value[8:] if key.endswith(END) else value) for key, value in spaces[2]]
    spaces[3] = [pair for pair in spaces[3] if pair[0] != b"m:format"]
    return spaces


INDEXES = (
    IndexInfo(1, "plain", ((("a",), 1),)),
    IndexInfo(2, "unique", ((("u",), 1), (("a",), -1)), unique=True),
    IndexInfo(3, "partial", ((("t",), 1),), partial={"a": {"$gt": "value 3"}}),
)


def insert(store: Store, roads, documents: list[dict]) -> bool:
    id_keys, datas = stored(documents)

    def call(batch):
        info = batch.catalog.get("c")
        if info is None:
            info = batch.create_collection("c", {})
            for index in INDEXES:
                info = info.with_index(index)
            batch.define(info, {})
        made = records.prepare(batch.catalog.version, info, [], roads(info.number, id_keys, datas))
        return records.insert_prepared(batch, info, made)

    return store.write(call)


def batches() -> list[list[dict]]:
    """Ascending ids, ids in between, an id that is there already, a unique value that is there already, two alike."""
    chance = random.Random(8)

    def some(numbers):
        return [
            {"_id": f"{i:06}", "a": f"value {chance.randrange(9)}", "u": i, "t": [chance.randrange(5) for _ in range(3)],
             "long": "y" * chance.randrange(600)} for i in numbers
        ]  # fmt: skip

    return [
        some(range(0, 1000, 2)), some(chance.sample(range(1, 500, 2), 200)), some([2001, 2]), [*some([3000]), {"_id": "new", "u": 4, "a": "value 1"}],
        [{"_id": "x", "u": "same"}, {"_id": "y", "u": "same"}], some([5, 5]), some(range(5000, 5010)),
    ]  # fmt: skip


def test_both_roads_leave_the_same_bytes(engines):
    fast, slow = Store(engines[0]), Store(engines[1])
    chance = random.Random(8)
    for documents in batches():
        chance.shuffle(documents)
        took = [
            insert(fast, gather, documents),
            insert(slow, lambda _, keys, datas: DocumentList(keys, datas), documents),
        ]
        assert took[0] == took[1]
        assert contents(engines[0]) == contents(engines[1])


def test_holds_any_knows_whole_keys_and_what_stands_before_an_id(engines):
    txn = engines[0].begin(write=True)
    txn.put_many(ENTRIES, [(b"\0\0\0\1abID", b"\2\0"), (b"\0\0\0\1cdID", b"\2\0")])
    for form in (list, PairRun):
        assert txn.holds_any(ENTRIES, form([(b"\0\0\0\1aaID", b"\2\0"), (b"\0\0\0\1cdID", b"\2\0")]))
        assert not txn.holds_any(ENTRIES, form([(b"\0\0\0\1abI", b"\2\0"), (b"\0\0\0\1abIDx", b"\2\0")]))
        assert txn.holds_any(ENTRIES, form([(b"\0\0\0\1cdXX", b"\2\0")]), whole=False)
        assert not txn.holds_any(ENTRIES, form([(b"\0\0\0\1adXX", b"\2\0"), (b"\0\0\0\1xxXX", b"\2\0")]), whole=False)
        assert not txn.holds_any(ENTRIES, form([]))
    txn.abort()


@pytest.mark.parametrize("unique", [False, True], ids=["plain", "unique"])
def test_an_index_built_later_has_the_entries_of_one_built_before(tmp_path, unique):
    rows = [{"_id": i, "a": i % 50, "t": [i, -i - 1]} for i in range(3_000)]
    keys = [("a", -1), ("t", 1)]
    with docdb.open(tmp_path / "a") as before, docdb.open(tmp_path / "b") as after:
        before["c"].create_index(keys, unique=unique)
        before["c"].insert_many(rows)
        after["c"].insert_many(rows)
        after["c"].create_index(keys, unique=unique)
        dumps = [contents(db["c"].session.store.engine) for db in (before, after)]
        assert dumps[0][1] == dumps[1][1]
        assert len(dumps[0][1]) == 6_000


def test_a_bulk_insert_that_fails_says_where_and_what_went_in():
    with docdb.open(":memory:") as db:
        db["c"].create_index("u", unique=True)
        with pytest.raises(BulkWriteError) as failure:
            db["c"].insert_many([{"_id": 1, "u": 1}, {"_id": 2, "u": 2}, {"_id": 3, "u": 1}, {"_id": 4, "u": 4}])
        assert list(failure.value.errors) == [2]
        assert [row["_id"] for row in db["c"].find()] == [1, 2]


@needs_kernel
@settings(max_examples=100, deadline=None)
@given(
    documents,
    st.sampled_from(
        [{"a": 1}, {"a": {"$gte": 0}}, {"_id": {"$type": "int"}}, {"b": {"$exists": False}}, {}, {"a.b": {"$ne": 1}}]
    ),
)
def test_whether_a_program_is_sure_of_all_documents(made, filter):
    fast, plain = both(made)
    program = compile_program(parse(filter))
    assert fast.all_match(program) == plain.all_match(program)


@needs_kernel
def test_no_document_is_every_document():
    program = compile_program(parse({"a": 1}))
    assert [found.all_match(program) for found in both([])] == [True, True]
    assert [found.all_match(program) for found in both([{"_id": 1, "a": 1}, {"_id": 2, "a": 1}])] == [True, True]
    assert [found.all_match(program) for found in both([{"_id": 1, "a": 1}, {"_id": 2}])] == [False, False]
    with pytest.raises(TypeError):
        both([])[0].all_match(None)


PACKED = [codec.encode_value(value) for value in ("", "x", "x" * 40, True, False, 1, None, [], {}, {"a": 1})]
PATHS = [["a"], ["b"], ["_id"], ["a", "b"], ["a", "0"], ["a", "b", "a"], [""], ["a"] * 16]


@needs_kernel
@settings(max_examples=200, deadline=None)
@given(documents, st.sampled_from(PATHS), st.sampled_from(PACKED))
def test_whether_all_documents_hold_a_value(made, path, packed):
    fast, plain = both(made)
    names = [name.encode() for name in path]
    assert fast.all_hold(names, packed) == plain.all_hold(names, packed)


@needs_kernel
def test_a_value_is_held_where_objects_lead_to_it():
    x = codec.encode_value("x")
    cases = [
        ({"_id": 1, "a": "x"}, [b"a"], True), ({"_id": 1, "b": 1, "a": "x", "c": 2}, [b"a"], True), ({"_id": 1, "a": "xx"}, [b"a"], False),
        ({"_id": 1, "a": ["x"]}, [b"a"], False), ({"_id": 1, "a": {"b": "x"}}, [b"a", b"b"], True), ({"_id": 1, "a": [{"b": "x"}]}, [b"a", b"b"], False),
        ({"_id": 1, "a": ["x"]}, [b"a", b"0"], False), ({"_id": 1, "a": "x"}, [b"a", b"b"], False), ({"_id": 1}, [b"a"], False),
    ]  # fmt: skip
    for document, path, held in cases:
        assert [found.all_hold(path, x) for found in both([document])] == [held, held], document
        assert [found.all_hold(path, x) for found in both([document, {"_id": 2}])] == [False, False]
    assert [found.all_hold([b"a"], x) for found in both([])] == [True, True]
    for wrong in ([], [b"a"] * 17):
        with pytest.raises(ValueError, match="1 to 16"):
            both([])[0].all_hold(wrong, x)
    with pytest.raises(TypeError):
        both([])[0].all_hold(["a"], x)


OWNER = ("_openid", "ann")
ANN = codec.encode_value("ann")


def owned(document):
    """The reference form: prepare a document with its owner, which is put behind its fields."""
    given = document.get("_openid", ...)
    if given is ...:
        document = {**document, "_openid": "ann"}
    elif type(given) is not str or given != "ann":
        raise DocumentError("another's")
    return codec.reference_prepare(document)


def outcome_of(work):
    try:
        ids, made = work()
    except DocumentError as error:
        return str(error)
    return (
        repr(ids),
        made.lists(),
        made.all_hold([b"_openid"], ANN),
        made.all_hold([b"_openid"], codec.encode_value("a")),
    )


class Text(str):
    """Text of a class of its own."""


owners = st.sampled_from(
    ["ann", "ann", "ann", "".join(["a", "nn"]), "bob", "", Text("ann"), None, ["ann"], {"_openid": "ann"}, b"ann", True]
)
named = st.dictionaries(st.one_of(st.text(max_size=7), st.sampled_from(["openid_", "_openids"])), values, max_size=20)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(named, st.one_of(st.none(), owners.map(lambda value: [value])), st.booleans()), max_size=5))
def test_documents_are_prepared_with_their_owner(parts):
    documents = []
    for number, (fields, owner, first) in enumerate(parts):
        own = {} if owner is None else {"_open" + "id": owner[0]}
        documents.append({"_id": number, **own, **fields} if first else {**fields, **own, "_id": number})

    def reference():
        rows = [owned(document) for document in documents]
        return [row[0] for row in rows], DocumentList([row[1] for row in rows], [row[2] for row in rows])

    assert outcome_of(lambda: prepare_run(documents, False, 3, owned, OWNER)) == outcome_of(reference)


@pytest.mark.parametrize("fields", [0, 13, 14, 15, 16, 17, 40])
def test_an_owner_is_one_field_more(fields):
    document = {f"f{n}": n for n in range(fields)}
    ids, made = prepare_run([document, {**document, "_id": 1}], False, 3, owned, OWNER)
    found = [codec.decode(data) for data in made.lists()[1]]
    assert found == [{"_id": ids[0], **document, "_openid": "ann"}, {"_id": 1, **document, "_openid": "ann"}]
    assert [list(one) for one in found] == [["_id", *document, "_openid"]] * 2
    assert codec.encode(found[0]) == made.lists()[1][0]


def test_what_was_seen_of_documents_is_of_one_field_and_one_value():
    _, made = prepare_run([{"_id": 1}, {"_id": 2, "_openid": "ann", "a": "ann"}], False, 3, owned, OWNER)
    assert made.all_hold([b"_openid"], ANN)
    assert not made.all_hold([b"_openid"], codec.encode_value("an"))
    assert not made.all_hold([b"_openid"], ANN + b"x")
    assert not made.all_hold([b"a"], ANN)
    assert not made.all_hold([b"_openid", b"_openid"], ANN)


class Sly(UserDict):
    """A value that changes the document it stands in while it is read."""

    def __init__(self, change):
        super().__init__(a=1)
        self._change = change

    def items(self):
        self._change()
        return super().items()


@pytest.mark.parametrize("before", [False, True], ids=["behind", "before"])
@pytest.mark.parametrize("own", [False, True], ids=["absent", "own"])
def test_a_document_that_changes_its_owner_while_it_is_encoded_is_seen(before, own):
    document: dict = {}
    sly = Sly(lambda: document.update(_openid="bob"))
    document.update({"_id": 1, **({"sly": sly} if before else {}), **({"_openid": "ann"} if own else {}), "x": sly})

    def prepare(given):
        return owned(dict(given))

    try:
        _, made = prepare_run([document], False, 3, prepare, OWNER)
    except DocumentError:
        return
    (data,) = made.lists()[1]
    assert data.count(b"_openid") == 1
    assert codec.decode(data)["_openid"] == "ann"
    assert made.all_hold([b"_openid"], ANN)


@needs_kernel
def test_an_owner_is_text():
    for wrong in (("_openid", 1), ("_openid", None), (b"_openid", "ann")):
        with pytest.raises(TypeError):
            _native.codec.prepare_run([], False, 3, owned, wrong)
