"""The checker on histories small enough to be judged by eye: each anomaly has its own, and its twin without one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.isolation.checker import check
from tests.isolation.histories import Recorder, Transaction, load

G1 = {"group": [1, 1]}
IN, OUT = {"group": 1}, {"group": 2}


def history(*transactions: Any) -> list[Transaction]:
    """Make transactions that all overlap: each is (operation, ...) or {"ops": ..., more fields}."""
    made = []
    for number, given in enumerate(transactions):
        fields = dict(given) if isinstance(given, dict) else {"ops": given}
        operations = json.loads(json.dumps(list(fields.pop("ops"))))
        default = {
            "id": f"T{number}",
            "lane": f"lane{number}",
            "way": "test",
            "begin": 0,
            "end": 1_000,
            "outcome": "ok",
        }
        made.append(Transaction(**(default | fields), operations=operations))
    return made


def after(*operations: Any) -> dict[str, Any]:
    """Return a transaction behind all others."""
    return {"ops": operations, "begin": 2_000, "end": 3_000}


def put(item: str, value: int, attributes: dict[str, int]) -> tuple[Any, ...]:
    return ("put", "s", item, value, attributes)


def found(predicate: dict[str, Any], *rows: Any) -> tuple[Any, ...]:
    return ("found", "s", predicate, rows)


WRONG = {
    "G0": [
        (("append", "x", 1), ("append", "y", 2)),
        (("append", "x", 3), ("append", "y", 4)),
        after(("read", "x", [1, 3]), ("read", "y", [4, 2])),
    ],
    "G1a": [{"ops": [("append", "x", 1)], "outcome": "fail"}, (("read", "x", [1]),)],
    "G1a register": [{"ops": [("write", "x", 1)], "outcome": "fail"}, (("get", "x", 1),)],
    "G1a seen": [{"ops": [put("a", 1, IN)], "outcome": "fail"}, (("seen", "s", G1, [1]),)],
    "G1b": [(("append", "x", 1), ("append", "x", 2)), (("read", "x", [1]),)],
    "G1b register": [(("write", "x", 1), ("write", "x", 2)), (("get", "x", 1),)],
    "G1b seen": [(put("a", 1, IN), put("a", 2, OUT)), (("seen", "s", G1, [1]),)],
    "G1c": [(("append", "x", 1), ("read", "y", [2])), (("append", "y", 2), ("read", "x", [1]))],
    "G-single": [(("append", "x", 1), ("append", "y", 2)), (("read", "x", [1]), ("read", "y", []))],
    "G-single of a failed one": [
        (("append", "x", 1), ("append", "y", 2)),
        {"ops": (("read", "x", [1]), ("read", "y", [])), "outcome": "fail"},
    ],
    "G2-item": [(("read", "x", []), ("append", "y", 1)), (("read", "y", []), ("append", "x", 2))],
    "G2-item register": [(("get", "x", None), ("write", "y", 1)), (("get", "y", None), ("write", "x", 2))],
    "G2-item fork": [
        (("append", "x", 1),),
        (("append", "y", 2),),
        (("read", "x", [1]), ("read", "y", [])),
        (("read", "x", []), ("read", "y", [2])),
    ],
    "lost update": [(("read", "x", []), ("append", "x", 1)), (("read", "x", []), ("append", "x", 2))],
    "lost update register": [(("get", "x", None), ("write", "x", 1)), (("get", "x", None), ("write", "x", 2))],
    "lost update deletion": [
        (put("a", 1, IN),),
        (found({}, ["a", [1]]), ("delete", "s", "a")),
        (found({}, ["a", [1]]), ("delete", "s", "a")),
    ],
    "lost write": [(("append", "x", 1),), (("append", "x", 2),), (("append", "x", 3),), after(("read", "x", [3]))],
    "incompatible order": [
        (("append", "x", 1),),
        (("append", "x", 2),),
        (("read", "x", [1, 2]),),
        (("read", "x", [2]),),
    ],
    "duplicate": [(("append", "x", 1),), (("read", "x", [1, 1]),)],
    "duplicate item": [(put("a", 1, IN),), (found({}, ["a", [1]]), put("a", 2, IN)), (("seen", "s", G1, [1, 2]),)],
    "unwritten": [(("read", "x", [7]),)],
    "non-repeatable read": [(("append", "x", 1),), (("read", "x", []), ("read", "x", [1]))],
    "non-repeatable read register": [(("write", "x", 1),), (("get", "x", None), ("get", "x", 1))],
    "internal": [(("append", "x", 1), ("read", "x", []))],
    "internal register": [(("write", "x", 1), ("get", "x", None))],
    "internal predicate": [(put("a", 1, IN), found(G1))],
    "internal deletion": [(put("a", 1, IN),), (("delete", "s", "a"), found(G1, ["a", [1]]))],
    "mismatch": [(put("a", 1, OUT),), (found(G1, ["a", [1]]),)],
    "count": [(put("a", 1, IN),), after(("count", "s", G1, 0))],
    "sum": [(("expect", "sum", 100, 90),)],
    "G2-predicate": [
        (found(G1), ("append", "x", 1)),
        (("read", "x", []), put("a", 2, IN)),
    ],
    "G2-predicate count": [(("count", "s", G1, 0), ("append", "x", 1)), (("read", "x", []), put("a", 2, IN))],
    "G2-predicate moved in": [
        {"ops": [put("a", 1, OUT)], "begin": -9, "end": -1},
        (("seen", "s", G1, []), ("append", "x", 2)),
        (("read", "x", []), found({}, ["a", [1]]), put("a", 3, IN)),
        after(found({}, ["a", [1, 3]])),
    ],
    "G2-predicate deleted": [
        {"ops": [put("a", 1, IN)], "begin": -9, "end": -1},
        (("count", "s", G1, 1), ("append", "x", 2)),
        (("read", "x", []), found({}, ["a", [1]]), ("delete", "s", "a")),
    ],
    "G2-predicate both": [(found(G1), put("a", 1, IN)), (found(G1), put("b", 2, IN))],
    "G-single-predicate": [(put("a", 1, IN), put("b", 2, IN)), (found(G1, ["a", [1]]),)],
    "G-single-realtime": [{"ops": [("append", "x", 1)], "begin": -9, "end": -1}, (("read", "x", []),)],
    "G-single-realtime register": [
        {"ops": [("write", "x", 1)], "begin": -9, "end": -5},
        {"ops": [("write", "x", 2)], "begin": -4, "end": -1},
        (("get", "x", 1),),
    ],
    "G-single-predicate-realtime": [{"ops": [put("a", 1, IN)], "begin": -9, "end": -1}, (found(G1),)],
    "G1c-realtime": [{"ops": [("read", "x", [1])], "begin": -9, "end": -1}, (("append", "x", 1),)],
    "G-single-process": [
        {"ops": [("append", "x", 1)], "lane": "me"},
        {"ops": [("read", "x", [])], "lane": "me", "begin": 1},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_it_is_found(name: str) -> None:
    verdict = check(history(*WRONG[name]))
    assert kind_of(name) in verdict.kinds, verdict


def kind_of(name: str) -> str:
    """Return the kind a case is named after: the longest one that its name begins with."""
    kinds = {
        "G0", "G1a", "G1b", "G1c", "G-single", "G2-item", "lost update", "lost write", "incompatible order", "duplicate", "unwritten", "sum",
        "non-repeatable read", "internal", "mismatch", "count", "G2-predicate", "G-single-predicate", "G-single-realtime", "G1c-realtime",
        "G-single-predicate-realtime", "G-single-process",
    }  # fmt: skip
    return max((kind for kind in kinds if name.startswith(kind)), key=len)


RIGHT = {
    "one after the other": [
        (("read", "x", []), ("append", "x", 1), ("read", "x", [1])),
        (("read", "x", [1]), ("append", "x", 2)),
        after(("read", "x", [1, 2])),
    ],
    "a failed one": [{"ops": [("append", "x", 1)], "outcome": "fail"}, after(("read", "x", []))],
    "an unknown one that happened": [
        {"ops": [("append", "x", 1), ("append", "y", 2)], "outcome": "unknown", "end": 2**63},
        after(("read", "x", [1]), ("read", "y", [2])),
    ],
    "an unknown one that did not": [
        {"ops": [("append", "x", 1), ("write", "y", 2)], "outcome": "unknown", "end": 2**63},
        after(("read", "x", []), ("get", "y", None)),
    ],
    "an unknown deletion that happened": [
        {"ops": [put("a", 1, IN)], "begin": -9, "end": -1},
        {"ops": [found({}, ["a", [1]]), ("delete", "s", "a")], "outcome": "unknown", "end": 2**63},
        after(found({})),
    ],
    "an unknown deletion that did not": [
        {"ops": [put("a", 1, IN)], "begin": -9, "end": -1},
        {"ops": [found({}, ["a", [1]]), ("delete", "s", "a")], "outcome": "unknown", "end": 2**63},
        after(found({}, ["a", [1]])),
    ],
    "an item that one of two unknown ones has deleted": [
        {"ops": [put("a", 1, IN)], "begin": -9, "end": -1},
        {"ops": [found({}, ["a", [1]]), ("delete", "s", "a")], "outcome": "unknown", "end": 2**63},
        {"ops": [found({}, ["a", [1]]), ("delete", "s", "a")], "outcome": "unknown", "end": 2**63},
        after(("count", "s", G1, 0), found({})),
    ],
    "an unknown one that deleted what it had made, and did not happen": [
        {"ops": [("append", "x", 1), put("a", 2, IN), ("delete", "s", "a")], "outcome": "unknown", "end": 2**63},
        after(("read", "x", []), found({})),
    ],
    "overlapping, either way": [(("append", "x", 1),), (("read", "x", []),), (("read", "x", [1]),)],
    "read only at its snapshot": [
        (("read", "x", []), ("read", "y", [])),
        (("read", "y", []), ("append", "x", 1)),
        (("append", "y", 2),),
    ],
    "registers": [
        (("get", "x", None), ("write", "x", 1), ("get", "x", 1)),
        (("get", "x", 1), ("write", "x", 2), ("write", "x", 3)),
        after(("get", "x", 3)),
    ],
    "blind writes": [(("write", "x", 1),), (("write", "x", 2),), after(("get", "x", 1))],
    "predicates": [
        {"ops": [put("a", 1, IN)], "begin": -9, "end": -1},
        (found(G1, ["a", [1]]), ("count", "s", G1, 1), put("b", 2, IN), found(G1, ["a", [1]], ["b", [2]])),
        (found(G1, ["a", [1]], ["b", [2]]), put("a", 3, OUT), ("seen", "s", G1, [2]), ("count", "s", G1, 1)),
        after(("seen", "s", {}, [2, 3]), ("count", "s", G1, 1), found({}, ["a", [1, 3]], ["b", [2]])),
    ],
    "made and gone meanwhile": [
        {"ops": [put("a", 1, IN)], "begin": 100, "end": 200},
        {"ops": [found({}, ["a", [1]]), ("delete", "s", "a")], "begin": 300, "end": 400},
        (found(G1),),
        (("count", "s", G1, 0),),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_found(name: str) -> None:
    assert check(history(*RIGHT[name])).anomalies == []


def test_what_a_recorder_writes_is_loaded() -> None:
    lines: list[bytes] = []
    clock = iter(range(100))
    recorder = Recorder(lines.append, "p", lambda: next(clock))
    one, two, three = (recorder.begin("a", "by hand") for _ in range(3))
    one.note("append", "x", 1)
    one.trying()
    one.end("ok")
    two.trying()
    three.end("fail")
    lines.append(b'["try","torn')
    loaded = load(lines)
    assert [(t.id, t.outcome, t.begin, t.end) for t in loaded] == [
        ("p.a.1", "ok", 0, 3),
        ("p.a.2", "unknown", 1, 2**63),
        ("p.a.3", "fail", 2, 4),
    ]
    assert loaded[0].operations == [["append", "x", 1]]


def test_a_value_written_twice_is_no_history() -> None:
    with pytest.raises(AssertionError, match="twice"):
        check(history((("append", "x", 1),), (("append", "y", 1),)))


def test_a_cycle_is_told() -> None:
    verdict = check(history((("append", "x", 1), ("append", "y", 2)), (("read", "x", [1]), ("read", "y", []))))
    assert [str(anomaly) for anomaly in verdict.anomalies] == ["G-single: T1 -rw y-> T0 -wr x-> T1"]
