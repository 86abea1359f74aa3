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
