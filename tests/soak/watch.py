"""What is watched during a soak, and when it is flat.

What lives here: samples of processes and of the folder, the slope that outliers do not bend, the bounds. It must not know what the processes do.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["BOUNDS", "Series", "folder_facts", "process_facts", "slope"]

# By what a measure may grow in the half it is judged by: so much in units of its own, or such a part of its median.
BOUNDS: Final = {
    "memory MiB": (6.0, 0.10), "open files": (3.0, 0.0), "threads": (1.5, 0.0), "data MiB": (6.0, 0.10), "files": (4.0, 0.0), "readers": (4.0, 0.0),
}  # fmt: skip
LEAST: Final = 6  # samples in the half that is judged
STRETCHES: Final = 8  # of that half; the lowest value of each counts: a leak raises it, a backup under way does not


@dataclass
class Series:
    """One measure of one process (or of the folder) over time."""

    measure: str
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, time_s: float, value: float) -> None:
        self.times.append(time_s)
        self.values.append(value)

    def growth(self) -> float:
        """Return by how much the second half grew, by the slope of its lowest values; 0 when there are too few samples."""
        half = len(self.times) // 2
        times, values = self.times[half:], self.values[half:]
        if len(times) < LEAST:
            return 0.0
        width = -(-len(times) // STRETCHES)
        starts = range(0, len(times), width)
        lowest = [min(values[at : at + width]) for at in starts]
        return slope([times[at] for at in starts], lowest) * (times[-1] - times[0])

    def flat(self) -> bool:
        """Tell whether the second half grew by no more than the measure's bound."""
        own, share = BOUNDS[self.measure]
        half = self.values[len(self.values) // 2 :]
        return self.growth() <= max(own, share * statistics.median(half))

    def told(self) -> str:
        """Return first, median and last value of the second half, and its growth."""
        half = self.values[len(self.values) // 2 :]
        return f"{self.measure}: {half[0]:.1f} .. {statistics.median(half):.1f} .. {half[-1]:.1f}, growth {self.growth():+.2f}"


def slope(times: list[float], values: list[float]) -> float:
    """Return the median of the slopes of all pairs (Theil and Sen): a third of the values may be outliers."""
    pairs = [
        (values[b] - values[a]) / (times[b] - times[a])
        for a in range(len(times)) for b in range(a + 1, len(times)) if times[b] > times[a]
    ]  # fmt: skip
    return statistics.median(pairs) if pairs else 0.0


def process_facts(pid: int) -> dict[str, float]:
    """Return the own memory, open files and threads of a process."""
    facts: dict[str, float] = {"open files": len(os.listdir(f"/proc/{pid}/fd"))}
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "RssAnon":
            facts["memory MiB"] = int(value.split()[0]) / 1024
        elif name == "Threads":
            facts["threads"] = int(value)
    return facts


def folder_facts(path: Path) -> dict[str, float]:
    """Return the size of the data file and the number of files of a database."""
    return {
        "data MiB": (path / "data.mdb").stat().st_size / 2**20,
        "files": sum(len(names) for _, _, names in os.walk(path)),
    }
