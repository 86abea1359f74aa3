"""The engine, broken on purpose: what a fault is.

What lives here: ``Fault``, ``registrar`` and ``CYCLES``; the faults are in ``faults_of_reads`` and ``faults_of_writes``. What it must not know: the checker.

A fault is a function of pytest's ``monkeypatch`` that takes one piece out of the real transactions. Where it needs another commit at a certain moment, or
several callers in one batch, it names the drive (``drives``) that brings it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["CYCLES", "Break", "Fault", "registrar"]

Break = Callable[[Any], None]
CYCLES: Final = ("G-single", "G2-item", "G-single-predicate", "G2-predicate", "lost update")
"""What follows where a read is not judged."""


@dataclass(frozen=True)
class Fault:
    """What is taken out, what the checker may call the result, and the driver that brings it out."""

    apply: Break
    kinds: frozenset[str]
    drive: str = "interleaved"
    only: frozenset[str] = frozenset()  # steps that bring it out; none: all
    each: int = 40  # transactions in a generation of keys


def registrar(faults: dict[str, Fault]) -> Callable[..., Callable[[Break], Break]]:
    """Return a decorator that puts a fault into ``faults`` under its function's name."""

    def fault(*kinds: str, drive: str = "interleaved", only: str = "", each: int = 40) -> Callable[[Break], Break]:
        def register(apply: Break) -> Break:
            faults[apply.__name__] = Fault(apply, frozenset(kinds), drive, frozenset(only.split()), each)
            return apply

        return register

    return fault
