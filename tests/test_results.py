"""What operations answer."""

import pytest

from docdb.errors import UsageError
from docdb.faces.results import AddResult, BulkWriteResult, DeleteResult, RemoveOutcome, Result, UpdateResult

REPORT = {
    "writeErrors": [], "writeConcernErrors": [], "nInserted": 1, "nUpserted": 1, "nMatched": 2, "nModified": 3, "nRemoved": 4,
    "upserted": [{"index": 2, "_id": "x"}],
}  # fmt: skip


def test_result_is_a_sequence():
    found = Result([{"n": 1}, {"n": 2}, {"n": 3}])
    assert len(found) == 3
    assert found[0] == found.first() == {"n": 1}
    assert found[1:] == [{"n": 2}, {"n": 3}]
    assert list(found) == found.data == found.to_list()
    assert found.to_list() is not found.data
    assert {"n": 2} in found
    assert found != Result([])
    assert Result([]).first() is None


def test_result_repr_is_short():
    assert repr(Result([{"n": "x" * 1000}] * 50)) == "<Result of 50 documents>"


def test_result_html_escapes_and_bounds():
    html = Result([{"a": "<b>", "c": 1}] + [{"d": "y" * 500}] * 30)._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<th>a</th><th>c</th><th>d</th>" in html
    assert html.count("<tr>") == 21
    assert "31 documents, the first 20 shown" in html
    assert "y" * 80 not in html


def test_add_result():
    assert AddResult(["a"]).id == "a"
    with pytest.raises(UsageError, match="2 documents"):
        _ = AddResult(["a", "b"]).id


def test_remove_outcome_has_both_names():
    assert RemoveOutcome(3).deleted == RemoveOutcome(3).removed == 3


@pytest.mark.parametrize(
    ("result", "raw"),
    [
        (UpdateResult(2, 1), {"n": 2, "nModified": 1, "ok": 1.0, "updatedExisting": True}),
        (UpdateResult(0, 0, "a", True), {"n": 1, "nModified": 0, "ok": 1.0, "updatedExisting": False, "upserted": "a"}),
    ],
    ids=["update", "upsert"],
)
def test_update_result(result, raw):
    assert result.raw_result == raw
    assert result.acknowledged


def test_delete_result():
    assert DeleteResult(2).raw_result == {"n": 2, "ok": 1.0}


def test_bulk_write_result():
    result = BulkWriteResult(REPORT)
    counts = (
        result.inserted_count,
        result.upserted_count,
        result.matched_count,
        result.modified_count,
        result.deleted_count,
    )
    assert counts == (1, 1, 2, 3, 4)
    assert result.upserted_ids == {2: "x"}
