"""Judging stored documents by a rule: for writes and feeds, where a decision is asked of one document after another.

What lives here: ``judge`` and ``needs_images``. What it must not know: where the bytes come from, queries.
"""

from __future__ import annotations

from docdb.rules.compiled import Verdict, compiled
from docdb.rules.evaluator import Circumstances
from docdb.rules.syntax import Call, Node, Variable, walk

__all__ = ["Verdict", "judge", "needs_images"]


def judge(rule: Node | None, about: Circumstances, *, creating: bool = False) -> Verdict:
    """Return the function from a stored document to whether the rule allows it: the constraint's program, the evaluator where that is not sure.

    ``about`` holds for all documents that are judged; ``about.doc`` is not looked at. ``creating``: the document is what is being
    created, so it is ``request.data`` as well as ``doc``, and nothing was there before. Compile once, call often.
    """
    return _nothing if rule is None else compiled(rule, about, creating=creating).verdict


def needs_images(rule: Node | None) -> bool:
    """Tell whether a rule speaks of ``request.data`` or ``changed``, so that an update is judged with both of its images, one at a time."""
    return rule is not None and any(
        (isinstance(part, Variable) and part.name == "request") or (isinstance(part, Call) and part.name == "changed")
        for part in walk(rule)
    )


def _nothing(data: bytes) -> bool:
    return False
