"""What the stages of a pipeline did: how many documents each gave, and how long it took.

What lives here: ``Profile``. What it must not know: how stages work, how a plan was chosen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from docdb.pipeline.context import Batches

__all__ = ["Profile"]


@dataclass(slots=True)
class _Work:
    stage: str
    rows: int = 0
    seconds: float = 0.0  # of this stage and all before it


@dataclass(slots=True)
class Profile:
    """Steps in the order the documents pass them."""

    steps: list[_Work] = field(default_factory=list)

    def watch(self, stage: str, batches: Batches) -> Batches:
        """Yield the batches of a step, and count them."""
        work = _Work(stage)
        self.steps.append(work)
        return _counted(work, batches)

    def add(self, stage: str, rows: int, seconds: float) -> None:
        """Add a step that is over."""
        self.steps.append(_Work(stage, rows, seconds))

    def shown(self) -> list[dict[str, Any]]:
        """Return name, rows and milliseconds of each step, without those before it."""
        before = [0.0, *(step.seconds for step in self.steps)]
        return [
            {"stage": step.stage, "rows": step.rows, "ms": round(max(0.0, step.seconds - earlier) * 1_000, 3)}
            for step, earlier in zip(self.steps, before, strict=False)
        ]


def _counted(work: _Work, batches: Batches) -> Iterator[list[dict[str, Any]]]:
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        work.seconds += time.perf_counter() - began
        if batch is None:
            return
        work.rows += len(batch)
        yield batch
