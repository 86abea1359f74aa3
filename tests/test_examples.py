"""The examples run, and what they print is right."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(example: str, *arguments: str) -> str:
    """Return what an example prints; it must end well."""
    command = [sys.executable, ROOT / "examples" / example, *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_outbox_loses_no_order_and_counts_none_twice() -> None:
    printed = run("outbox.py", "--orders", "40")
    assert "40 orders, 4 workers killed" in printed
    assert "mails     40 sent" in printed
    assert "every order was taken off exactly once" in printed


def test_the_list_of_things_to_do(tmp_path: Path) -> None:
    at = ("--at", str(tmp_path / "todo.docdb"))
    assert run("todo.py", "add", "write the guide", "--tag", "docs", *at) == "1 to do\n"
    assert run("todo.py", "add", "buy milk", "--due", "2026-12-01", *at) == "2 to do\n"
    assert run("todo.py", "list", *at) == "2026-12-01  buy milk\n            write the guide\n"
    assert run("todo.py", "list", "--tag", "docs", *at) == "            write the guide\n"
    assert run("todo.py", "done", "GUIDE", *at) == "1 done\n"
    assert run("todo.py", "clear", *at) == "1 removed\n"


def test_the_questions_to_cities() -> None:
    printed = run("analytics.py")
    assert "cities within 100 km of Oslo (GeoScan" in printed
    assert printed.count("\n") == 13
