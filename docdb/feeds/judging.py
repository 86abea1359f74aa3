"""Asking a filter of stored bytes.

What lives here: ``judge_of``. What it must not know: who asks.
"""

from __future__ import annotations

from collections.abc import Callable

from docdb.language.matching import matcher
from docdb.language.programs import compile_program
from docdb.language.tree import TRUE, Node
from docdb.store import codec

__all__ = ["Judge", "judge_of"]

Judge = Callable[[bytes], bool]


def judge_of(node: Node) -> Judge:
    """Return the function from a stored document to whether it matches: the program, and the reference where that is not sure."""
    if node is TRUE:
        return _everything
    program = compile_program(node)
    matches = matcher(node)
    if program is None:
        return lambda data: matches(codec.decode(data))
    ask = program.match

    def judge(data: bytes) -> bool:
        answer = ask(data)
        return matches(codec.decode(data)) if answer == 2 else bool(answer)

    return judge


def _everything(data: bytes) -> bool:
    return True
