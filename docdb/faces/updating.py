"""What update data and replacements must look like before they become operations.

What lives here: the shape checks of both dialects. What it must not know: how an update is parsed or applied
(``language/updates.py``), sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from docdb.errors import UpdateError
from docdb.faces.conditions import LogicCommand, encode_element
from docdb.language.updates import Command

__all__ = ["check_replacement", "check_update", "native_replacement", "native_update"]


def check_update(update: Any, path: str | None = None) -> Any:
    """Return an update in MongoDB's form (operators, or a pipeline), or refuse it."""
    if type(update) is dict or isinstance(update, Mapping):
        if not update:
            raise UpdateError("an update needs at least one operator", path=path)
        for name in update:
            if not (isinstance(name, str) and name.startswith("$")):
                hint = "use {'$set': {...}}, or replace_one() for a whole document"
                raise UpdateError(f"{name!r} is not an update operator", path=path, hint=hint)
        return _with_pull(update)
    if isinstance(update, Sequence) and not isinstance(update, str | bytes):
        return list(update)
    raise UpdateError(f"an update is a document or a pipeline, not {type(update).__name__}", path=path)


def check_replacement(replacement: Any, path: str | None = None) -> Any:
    """Return a whole document that replaces another, or refuse operators in it."""
    if not isinstance(replacement, Mapping):
        raise UpdateError(f"a replacement is a document, not {type(replacement).__name__}", path=path, code=14)
    first = next(iter(replacement), "")
    if isinstance(first, str) and first.startswith("$"):
        raise UpdateError(f"a replacement holds no operator such as {first}", path=path, hint="use update_one()")
    return replacement


def native_update(data: Any) -> tuple[dict[str, Any], bool]:
    """Return update data and whether it is the merge form (no operators); all operators or none.

    >>> native_update({"age": 26, "address": {"city": "Beijing"}})
    ({'age': 26, 'address': {'city': 'Beijing'}}, True)
    """
    document = _data(data, "update")
    operators = sum(1 for name in document if isinstance(name, str) and name.startswith("$"))
    if not operators:
        _refuse_id(document)
        return document, True
    if operators < len(document):
        plain = next(name for name in document if not (isinstance(name, str) and name.startswith("$")))
        raise UpdateError(
            f"update data is all operators or none; {plain!r} stands beside operators", hint="put it below $set"
        )
    for operand in document.values():
        if isinstance(operand, Mapping):
            _refuse_id(operand)
    return _with_pull(document), False


def native_replacement(data: Any) -> dict[str, Any]:
    """Return the document ``set`` stores: no ``_id``, no operators, no update commands."""
    document = _data(data, "set")
    _refuse_id(document)
    check_replacement(document)
    try:
        _refuse_commands(document, "")
    except RecursionError:
        raise UpdateError("the document is nested too deep") from None
    return document


def _data(data: Any, method: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise UpdateError(f"{method}() takes a document, not {type(data).__name__}")
    if not data:
        raise UpdateError(f"{method}() takes a document that is not empty")
    return dict(data)


def _refuse_id(document: Mapping[str, Any]) -> None:
    if "_id" in document:
        raise UpdateError("the _id of a document does not change", path="_id", hint="leave _id out", code=66)


def _refuse_commands(value: Any, path: str) -> None:
    if isinstance(value, Command):
        raise UpdateError(
            "set() replaces the document: there is nothing for a command to change", path=path, hint="use update()"
        )
    if isinstance(value, Mapping):
        for name, item in value.items():
            _refuse_commands(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _refuse_commands(item, f"{path}.{position}")


def _with_pull(update: Mapping[str, Any]) -> dict[str, Any]:
    """Write out logic commands in the conditions of ``$pull``."""
    document = dict(update)
    operand = document.get("$pull")
    if isinstance(operand, Mapping) and any(_logic_in(value) for value in operand.values()):
        document["$pull"] = {name: encode_element(value, flatten=False) for name, value in operand.items()}
    return document


def _logic_in(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(item, LogicCommand) for item in value.values())
    return isinstance(value, LogicCommand)
