"""What the engines share about batches: how they grow, and what ``program`` and ``decode`` mean.

It must not know where the pairs come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from docdb.errors import UsageError

__all__ = ["LARGEST_KEY", "check_item", "check_key", "check_shape", "deliver", "sizes"]

LARGEST_KEY: Final = 511
LARGEST_VALUE: Final = 0x7FFFFFFF
FIRST_BATCH: Final = 16
GROWTH: Final = 4

Pair = tuple[bytes, bytes]


def sizes(batch: int) -> Iterator[int]:
    """Yield the sizes of successive batches, from small to ``batch``."""
    if batch < 1:
        raise UsageError(f"batch must be at least 1, not {batch}")
    size = min(FIRST_BATCH, batch)
    while True:
        yield size
        size = min(size * GROWTH, batch)


def deliver(
    pairs: Sequence[Pair], keys: bool, values: bool, program: Any, decode: Callable[[bytes], Any] | None
) -> list[Any]:
    """Return what a scan yields for these pairs: the program first, then one decode per value that is left."""
    if program is not None:
        match = program.match
        pairs = [pair for pair in pairs if match(pair[1])]
    if not values:
        return [key for key, _ in pairs]
    if keys:
        return list(pairs) if decode is None else [(key, decode(value)) for key, value in pairs]
    return [value for _, value in pairs] if decode is None else [decode(value) for _, value in pairs]


def check_shape(keys: bool, values: bool) -> None:
    """Refuse a scan that would yield nothing."""
    if not (keys or values):
        raise UsageError("a scan yields keys, values or both")


def check_key(key: bytes) -> None:
    """Refuse a key no engine can hold."""
    if not isinstance(key, bytes):
        raise UsageError(f"a key is bytes, not {type(key).__name__}")
    if not 1 <= len(key) <= LARGEST_KEY:
        raise UsageError(f"a key has 1 to {LARGEST_KEY} bytes, not {len(key)}")


def check_item(key: bytes, value: bytes) -> None:
    """Refuse a pair no engine can hold."""
    check_key(key)
    if not isinstance(value, bytes):
        raise UsageError(f"a value is bytes, not {type(value).__name__}")
    if len(value) > LARGEST_VALUE:
        raise UsageError(f"a value has at most {LARGEST_VALUE} bytes, not {len(value)}")
