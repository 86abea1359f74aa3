"""What the shell offers while a line is typed.

What lives here: ``ShellCompleter``: collections at the beginning, methods behind a dot, operators behind a dollar sign, value constructors inside brackets.
What it must not know: how lines are carried out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from docdb.cli.shell_language import CONSTRUCTORS, METHODS, snake

__all__ = ["ShellCompleter"]

OPERATORS: Final = (
    "$addFields", "$addToSet", "$all", "$and", "$avg", "$bit", "$bitsAllClear", "$bitsAllSet", "$bitsAnyClear", "$bitsAnySet", "$bucket",
    "$bucketAuto", "$concat", "$cond", "$count", "$currentDate", "$dateToString", "$elemMatch", "$eq", "$exists", "$expr", "$facet", "$first",
    "$graphLookup", "$group", "$gt", "$gte", "$ifNull", "$in", "$inc", "$jsonSchema", "$last", "$limit", "$lookup", "$lt", "$lte", "$match",
    "$max", "$merge", "$min", "$mod", "$mul", "$ne", "$nin", "$nor", "$not", "$or", "$out", "$pop", "$project", "$pull", "$pullAll", "$push",
    "$regex", "$rename", "$replaceRoot", "$replaceWith", "$sample", "$set", "$setOnInsert", "$setWindowFields", "$size", "$skip", "$sort",
    "$sortByCount", "$sum", "$switch", "$type", "$unionWith", "$unset", "$unwind",
)  # fmt: skip
ORDERS: Final = ("collections", "exit", "format", "help", "it")
_CURSOR_MAKERS: Final = frozenset({"aggregate", "find", "list_indexes"})
_QUERY_MAKERS: Final = frozenset({"limit", "order_by", "skip", "where"})
_WORD: Final = re.compile(r"\$?\w*\Z")
_METHOD: Final = re.compile(r"\.(\w*)\Z")
_FIRST: Final = re.compile(r"\s*(?:db\.)?(\w*)\Z")
_CALLED: Final = re.compile(r"\.(\w+)\(")


class ShellCompleter(Completer):
    """Offers what may stand at the cursor; ``collections`` is asked anew each time."""

    def __init__(self, collections: Callable[[], Sequence[str]]) -> None:
        self._collections = collections

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what begins with the word before the cursor."""
        text = document.text_before_cursor
        found = _WORD.search(text)
        word = found[0] if found else ""
        for offer in self._offers(text, word):
            if offer.startswith(word):
                yield Completion(offer, start_position=-len(word))

    def _offers(self, text: str, word: str) -> list[str]:
        if word.startswith("$"):
            return list(OPERATORS)
        if _FIRST.fullmatch(text):
            database = sorted(METHODS["Database"]) if text.lstrip().startswith("db.") else [*ORDERS, "db"]
            return sorted(self._collections()) + database
        if _METHOD.search(text) and _outside(text):
            return sorted(_methods(text))
        return [] if _outside(text) else sorted(CONSTRUCTORS)


def _outside(text: str) -> bool:
    """Tell whether every bracket before the cursor is closed."""
    return sum(text.count(bracket) for bracket in "([{") == sum(text.count(bracket) for bracket in ")]}")


def _methods(text: str) -> Iterable[str]:
    """Return the methods of what the calls so far give."""
    called = [snake(name) for name in _CALLED.findall(text)]
    if not called:
        return METHODS["Collection"]
    if called[0] in _CURSOR_MAKERS:
        return METHODS["Cursor" if called[0] == "find" else "AggregateCursor"]
    if called[0] in _QUERY_MAKERS:
        return METHODS["Query"]
    return METHODS["DocumentReference"] if called[0] == "doc" else ()
