"""``python -m benchmarks [ROW ...] [--documents N] [--write]``: run rows and print the table; ``--write`` puts it into RESULTS.md."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from pathlib import Path

import lmdb

from benchmarks.rows import ROWS, Row, Stage

RESULTS = Path(__file__).with_name("RESULTS.md")
MARKER = "<!-- results -->"


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table, losses included."""
    names = sorted({name for row in rows for name in row.times}, key=lambda name: (name != "docdb", name))
    lines = ["| work | " + " | ".join(names) + " | mark | reached |", "|---|" + "---|" * (len(names) + 2)]
    for row in rows:
        cells = [f"{row.times[name]:.2f} {row.unit}" if name in row.times else "-" for name in names]
        verdict = {True: "met", False: "**missed**", None: "-"}[row.met]
        lines.append(f"| {row.title} | {' | '.join(cells)} | {row.mark} | {verdict} {row.note} |")
    return "\n".join(lines)


def main() -> None:
    """Run the rows asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help="default: all")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="write the table into RESULTS.md")
    chosen = parser.parse_args()
    stage = Stage(chosen.documents)
    rows = []
    for name in chosen.rows or ROWS:
        print(f"... {name}", file=sys.stderr)
        rows.append(ROWS[name](stage))
    stage.close()
    facts = (
        f"{datetime.date.today()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"LMDB {'.'.join(map(str, lmdb.version()))}, {chosen.documents:,} documents"
    )
    text = f"{facts}\n\n{table(rows)}\n"
    print(text)
    if chosen.write:
        before = RESULTS.read_text(encoding="utf-8").split(MARKER)
        RESULTS.write_text(f"{before[0]}{MARKER}\n\n{text}\n{MARKER}{before[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
