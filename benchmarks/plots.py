"""The curves of a run as pictures: one PNG a curve, both axes logarithmic.

What lives here: ``draw``. What it must not know: how anything is measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

__all__ = ["draw"]

COLOURS: Final = {"docdb": "#c2410c", "lmdb + msgpack by hand": "#475569", "SQLite JSONB (apsw)": "#2563eb"}


def draw(run: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """Draw every curve of a run kept as JSON; yield the files. The same run gives the same bytes."""
    folder.mkdir(exist_ok=True)
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for rows in run["groups"].values():
        for row in rows:
            if row.get("curve"):
                curves.setdefault(row["curve"], []).append(row)
    for curve, points in curves.items():
        path = folder / f"growth-{re.sub('[^a-z0-9]+', '-', curve.lower()).strip('-')}.png"
        _draw(curve, sorted(points, key=lambda row: row["size"]), run["facts"], path)
        yield path


def _draw(curve: str, points: list[Mapping[str, Any]], facts: Mapping[str, Any], path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0))
    for name in dict.fromkeys(name for row in points for name in row["times"]):
        own = [row for row in points if name in row["times"]]
        sizes, values = [row["size"] for row in own], [row["times"][name] for row in own]
        spread = [row["spread"].get(name, (value, value)) for row, value in zip(own, values, strict=True)]
        lows = [value - low for value, (low, _) in zip(values, spread, strict=True)]
        highs = [high - value for value, (_, high) in zip(values, spread, strict=True)]
        axes.errorbar(sizes, values, yerr=[lows, highs], marker="o", capsize=3, label=name, color=COLOURS.get(name))
    axes.set(xscale="log", yscale="log", title=curve, xlabel="documents", ylabel=points[0]["unit"])
    axes.grid(True, which="both", alpha=0.25)
    axes.legend()
    figure.text(
        0.01,
        0.01,
        f"{facts['date']}, {facts['processor']}, {facts['cores']} cores; bars: least and most of the rounds",
        fontsize=6,
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=90, metadata={"Software": None})
    pyplot.close(figure)
