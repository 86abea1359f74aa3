"""What a run leaves: rows, the facts of the machine, a table, a JSON file, and two such files compared.

What lives here: ``Row`` and everything that is done with rows once they are measured. What it must not know: how anything is measured.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["Row", "Times", "compare", "facts", "load", "save", "table", "write_table"]

MARKER: Final = "<!-- {} -->"
RESULTS: Final = Path(__file__).with_name("RESULTS.md")


class Times(dict[str, float]):
    """Medians by contestant; ``spread`` holds the lowest and the highest round of each."""

    def __init__(self, rounds: Mapping[str, Sequence[float]]) -> None:
        super().__init__({name: statistics.median(values) for name, values in rounds.items()})
        self.spread = {name: (min(values), max(values)) for name, values in rounds.items()}


@dataclass
class Row:
    """One line of a table: times by contestant in ``unit``, their spread where there were rounds, the mark and its verdict."""

    title: str
    unit: str
    times: dict[str, float] = field(default_factory=dict)
    mark: str = ""
    met: bool | None = None
    note: str = ""
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    curve: str = ""  # a row that is one point of a curve: its name, and where the point lies
    size: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.times, Times):
            self.spread = self.times.spread
            self.times = dict(self.times)


def facts(**more: Any) -> dict[str, Any]:
    """Return what a reader must know of the machine and the versions."""
    import lmdb

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": str(datetime.date.today()), "cores": os.cpu_count(), "memory_gib": round(memory, 1), "processor": _processor(),
        "system": platform.platform(), "python": platform.python_version(), "lmdb": ".".join(map(str, lmdb.version())), **more,
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, losses included."""
    names = sorted({name for row in rows for name in row.times}, key=lambda name: (name != "docdb", name))
    lines = ["| work | " + " | ".join(names) + " | mark | reached |", "|---|" + "---|" * (len(names) + 2)]
    for row in rows:
        cells = [f"{row.times[name]:.2f} {row.unit}" if name in row.times else "-" for name in names]
        verdict = {True: "met", False: "**missed**", None: "-"}[row.met]
        lines.append(f"| {row.title} | {' | '.join(cells)} | {row.mark} | {verdict} {row.note} |")
    return "\n".join(lines)


def write_table(group: str, text: str) -> None:
    """Put a table into RESULTS.md between the two markers of its group."""
    marker = MARKER.format(group)
    before, _, rest = RESULTS.read_text(encoding="utf-8").partition(marker)
    _, _, after = rest.partition(marker)
    RESULTS.write_text(f"{before}{marker}\n\n{text}\n\n{marker}{after}", encoding="utf-8")


def save(path: Path, about: Mapping[str, Any], groups: Mapping[str, Sequence[Row]]) -> None:
    """Write a run as JSON: ``{"facts": {...}, "groups": {name: [row, ...]}}``."""
    groups_ = {name: [asdict(row) for row in rows] for name, rows in groups.items()}
    path.write_text(json.dumps({"facts": dict(about), "groups": groups_}, indent=1), encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    """Read what ``save`` wrote."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return a table of how docdb's time, and its ratio to each rival of the same run, went from ``old`` to ``new``.

    A time alone compares two machines as much as two versions; the ratio to a rival measured beside it does not.
    """
    lines = ["| work | before | now | now / before | against |", "|---|---|---|---|---|"]
    earlier = {(group, row["title"]): row for group, rows in old["groups"].items() for row in rows}
    for group, rows in new["groups"].items():
        for row in rows:
            before = earlier.get((group, row["title"]))
            if before is not None and "docdb" in row["times"] and "docdb" in before["times"]:
                lines.append(_compared(before, row))
    return "\n".join(lines)


def _compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    was, own = before["times"]["docdb"], now["times"]["docdb"]
    rivals = [name for name in now["times"] if name != "docdb" and name in before["times"]]
    against = ", ".join(
        f"{name} {before['times'][name] / was:.2f}x -> {now['times'][name] / own:.2f}x" for name in rivals
    )
    unit = now["unit"]
    ratio = f"{own / was:.2f}" if was else "-"
    return f"| {now['title']} | {was:.2f} {unit} | {own:.2f} {unit} | {ratio} | {against or '-'} |"
