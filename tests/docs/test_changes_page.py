"""The page about changes: its programs run, one after the other, as they stand there."""

import logging
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "changes.md"


def test_the_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(programs) == 6
    names: dict[str, object] = {}
    for number, program in enumerate(programs):
        exec(compile(program, f"program {number}", "exec"), names)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]  # the trigger that stops
