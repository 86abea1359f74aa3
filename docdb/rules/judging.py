"""Judging stored documents by a rule: for writes and feeds, where a decision is asked of one document after another.

What lives here: ``judge``. What it must not know: where the bytes come from, queries.
"""

from __future__ import annotations

from collections.abc import Callable

from docdb.language import tree
from docdb.language.matching import matcher
from docdb.language.programs import compile_program
from docdb.rules.compiled import compiled
from docdb.rules.evaluator import Circumstances
from docdb.rules.syntax import Node
from docdb.store import codec

__all__ = ["Verdict", "judge"]

Verdict = Callable[[bytes], bool]


def judge(rule: Node | None, about: Circumstances, *, creating: bool = False) -> Verdict:
    """Return the function from a stored document to whether the rule allows it: the constraint's program, the evaluator where that is not sure.

    ``about`` holds for all documents that are judged; ``about.doc`` is not looked at. ``creating``: the document is what is being
    created, so it is ``request.data`` as well as ``doc``, and nothing was there before. Compile once, call often.
    """
    if rule is None:
        return _nothing
    node = compiled(rule, about, creating=creating).node
    if isinstance(node, tree.Constant):
        return _everything if node.value else _nothing
    matches, program = matcher(node), compile_program(node)
    if program is None:
        return lambda data: matches(codec.decode(data))
    ask = program.match

    def verdict(data: bytes) -> bool:
        answer = ask(data)
        return matches(codec.decode(data)) if answer == 2 else bool(answer)

    return verdict


def _everything(data: bytes) -> bool:
    return True


def _nothing(data: bytes) -> bool:
    return False
