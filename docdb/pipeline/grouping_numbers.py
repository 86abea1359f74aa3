"""Numbers computed of one field as ids of groups: what the kernel must do to tell two of them apart as an expression does.

What lives here: ``read_number``. What it must not know: groups. The law are the expressions. The kernel computes with doubles where these are exact and
declines everything else (decimals, integers beyond 2**53, what is no number); in doubt None comes back here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["NUMBERS", "Computed", "read_number"]

NUMBERS: Final = {
    "$abs": (1, 2), "$add": (2, 3), "$ceil": (1, 4), "$divide": (2, 5), "$floor": (1, 6), "$mod": (2, 7), "$multiply": (2, 8), "$subtract": (2, 9),
    "$trunc": (1, 10),
}  # of each operator its operands and its number in the kernel  # fmt: skip
_FIELD, _CONSTANT = 0, 1
_DEEPEST: Final = 16  # the kernel's stack
_LARGEST: Final = 2**53


@dataclass(frozen=True, slots=True)
class Computed:
    """What is done with the field's value: steps in the order of a stack machine, each with its constant and whether that is an int."""

    steps: tuple[tuple[int, float, bool], ...]

    def of_kernel(self) -> tuple[Any, ...]:
        """Return it as the kernel takes it."""
        return "number", self.steps


def read_number(spec: Mapping[str, Any]) -> tuple[Any, Computed] | None:
    """Return the one field an expression reads and what it does with it, None where it takes the expression itself. The expression has compiled."""
    fields: list[str] = []
    steps: list[tuple[int, float, bool]] = []
    if not _add(spec, fields, steps, 1) or len(set(fields)) != 1:
        return None
    return fields[0], Computed(tuple(steps))


def _add(spec: Any, fields: list[str], steps: list[tuple[int, float, bool]], depth: int) -> bool:
    """Add the steps of an expression; ``depth``: where its value will lie on the stack."""
    if depth > _DEEPEST:
        return False
    if type(spec) is str and spec.startswith("$") and not spec.startswith("$$"):
        fields.append(spec)
        steps.append((_FIELD, 0.0, False))
        return True
    if type(spec) in (int, float) and math.isfinite(spec) and abs(spec) <= _LARGEST:
        steps.append((_CONSTANT, float(spec), type(spec) is int))
        return True
    if not isinstance(spec, Mapping) or len(spec) != 1:
        return False
    ((name, operands),) = spec.items()
    operands = operands if isinstance(operands, list) else [operands]
    count, code = NUMBERS.get(name, (-1, 0))
    if len(operands) != count or not all(_add(item, fields, steps, depth + at) for at, item in enumerate(operands)):
        return False
    steps.append((code, 0.0, False))
    return True
