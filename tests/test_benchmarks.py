"""The benchmark suite as a program: what it lists, runs, keeps and compares. No figure is judged here."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("apsw", reason="the rivals are not installed (make bench installs them)")

import docdb
from benchmarks import report, rivals
from benchmarks.__main__ import main
from benchmarks.workloads import GROUPS, Settings


def test_list_names_every_workload(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    shown = capsys.readouterr().out
    assert [name for group in GROUPS.values() for name in group.workloads() if f" {name} " not in shown] == []


def test_a_run_is_kept_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("before.json", "now.json"):
        main(["run", "get", "filter", "--documents", "500", "--json", str(tmp_path / name)])
    kept = json.loads((tmp_path / "now.json").read_text())
    assert [row["title"] for row in kept["groups"]["rows"]] == ["get by _id as dict", "unindexed filter, per document"]
    capsys.readouterr()
    main(["compare", str(tmp_path / "before.json"), str(tmp_path / "now.json")])
    assert capsys.readouterr().out.count("\n| ") == 2


def test_an_unknown_workload_ends_the_program() -> None:
    with pytest.raises(SystemExit, match="there is no workload 'nothing'"):
        main(["run", "nothing"])


def test_compare_tells_ratios() -> None:
    def run(own: float, rival: float) -> dict[str, object]:
        return {"groups": {"rows": [{"title": "get", "unit": "us", "times": {"docdb": own, "sqlite": rival}}]}}

    line = report.compare(run(2.0, 6.0), run(1.0, 5.0)).splitlines()[-1]
    assert line == "| get | 2.00 us | 1.00 us | 0.50 | sqlite 3.00x -> 5.00x |"


def test_a_table_goes_between_its_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("a\n<!-- rows -->\nold\n<!-- rows -->\nb\n")
    monkeypatch.setattr(report, "RESULTS", results)
    report.write_table("rows", "new")
    assert results.read_text() == "a\n<!-- rows -->\n\nnew\n\n<!-- rows -->\nb\n"


@pytest.mark.parametrize("group", ["aggregation", "small", "sorting"])
def test_all_contestants_of_a_group_give_the_same_answers(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", group, "--documents", "300"])
    assert capsys.readouterr().out.count("\n| ") - 1 == len(GROUPS[group].workloads())


def test_a_rival_that_is_not_installed_leaves_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "benchmarks.rivals.duckdb_json", raising=False)
    found, notes = rivals.find(["docdb", "duckdb"])
    assert [rival.name for rival in found] == ["docdb"]
    assert "requirements/duckdb_json.txt" in notes[0]


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_its_place_in_the_results(group: str) -> None:
    assert report.RESULTS.read_text(encoding="utf-8").count(report.MARKER.format(group)) == 2


def test_curves_are_measured_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    kept, folder = tmp_path / "growth.json", tmp_path / "plots"
    main(["run", "growth", "--documents", "2000", "--json", str(kept)])
    rows = json.loads(kept.read_text())["groups"]["growth"]
    assert sorted({row["size"] for row in rows}) == [200, 2000]
    main(["plot", str(kept), "--folder", str(folder)])
    drawn = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(drawn) == len({row["curve"] for row in rows}) == 6
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    main(["plot", str(kept), "--folder", str(folder)])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == drawn


def test_real_data_that_is_not_there_is_skipped_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.real.DATA", tmp_path)
    (tmp_path / "grades.ndjson.gz").write_bytes(
        gzip.compress(b'{"_id": 1, "student_id": {"$numberInt": "3"}, "scores": [{"type": "exam", "score": 2.5}]}\n')
    )
    main(["run", "real"])
    shown = capsys.readouterr().out
    assert shown.count("\n| ") - 1 == 2
    assert shown.count("is not among the shared data") == 5


@pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="floors are C, and counted by Linux")
def test_floors_read_what_docdb_has_stored(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "floor_get", "floor_range", "--documents", "2000"])
    assert capsys.readouterr().out.count("- floor ") == 2


@pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="floors are C, and counted by Linux")
def test_the_puts_of_a_floor_are_those_of_docdb() -> None:
    """What C has put into a copy, docdb finds in order."""
    from benchmarks import floors

    with closing(floors.Stage(Settings(300))) as stage:
        log, change = floors._Log(stage), {"age": 1_234, "email": "other@example.com", "visits": 5}
        ids = [document["_id"] for document in stage.documents[:20]]
        assert all(stage.floors.commit_us(log.steps(id, change)) > 0 for id in ids)
        stage.floors.close()
        with docdb.open(stage.folder / "floors") as db:
            assert db.check().problems == []
            assert [db["docs"].doc(id).get() for id in ids] == [{**d, **change} for d in stage.documents[:20]]
