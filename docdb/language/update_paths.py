"""The paths of an update, and the tree they form.

What lives here: reading ``a.b.$[x].c``, the tree of everything one update changes (so that paths which contradict each other are
refused), and walking a document along that tree. What it must not know: what an operator does at the end of its path
(``update_operators``, ``update_arrays``), filters.

A tree's node is a ``Leaf`` (one operator at one path) or a ``Branch``. A branch holds either names (fields, or positions of an
array) or element selectors (``$[]`` is "", ``$[x]`` is "x"), never both. Names are visited in order, numbers by value: that is
the order in which new fields are appended. Nothing is changed in place; what does not change is shared with the old document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from docdb.errors import UpdateError
from docdb.language.matching import position_of
from docdb.language.values import MISSING, type_name

__all__ = ["MAX_PADDING", "Branch", "Context", "Leaf", "build", "change", "parse_path"]

MAX_PADDING: Final = 1_500_000
_IDENTIFIER: Final = re.compile(r"[a-z][a-zA-Z0-9]*\Z")


@dataclass(slots=True)
class Context:
    """What holds for one application: the moment, whether the document is new, which elements a name selects."""

    now: Any
    inserting: bool
    original: dict[str, Any]
    selectors: dict[str, Callable[[Any], bool]]


class Leaf:
    """One operator at one path; subclasses say what becomes of the value there."""

    __slots__ = ("path",)
    tolerant = False  # a path that cannot exist in this document is no error

    def __init__(self, path: str) -> None:
        self.path = path

    def apply(self, value: Any, context: Context) -> Any:
        """Return the new value; the same object for no change, MISSING for none."""
        raise NotImplementedError

    def idle(self, context: Context) -> bool:
        """Tell whether the operator has nothing to do in this application."""
        return False

    def enter_array(self) -> None:
        """Refuse, if need be, that the path leads through an array."""


@dataclass(slots=True)
class Branch:
    """What is to be done below one value."""

    names: dict[str, Branch | Leaf] = field(default_factory=dict)
    elements: dict[str, Branch | Leaf] = field(default_factory=dict)


Tree = Branch | Leaf


def parse_path(text: Any, where: str) -> tuple[str, ...]:
    """Return the parts of an update path. Raises UpdateError: 56 empty part, 52 leading ``$``, 2 misplaced positional."""
    if not isinstance(text, str):
        raise UpdateError(f"a field name is text, not {type(text).__name__}", path=where, code=2)
    if "\0" in text:
        raise UpdateError("a field path may not contain NUL", path=where, code=9867600)
    parts = tuple(text.split("."))
    if "" in parts:
        raise UpdateError("a field path may not have an empty part", path=where, code=56)
    if "$" in text:
        _check_positional(parts, where)
    return parts


def _check_positional(parts: tuple[str, ...], where: str) -> None:
    for part in parts:
        if not part.startswith("$") or part == "$":
            continue
        if not part.startswith("$["):
            raise UpdateError(f"a field name may not begin with $: {part}", path=where, code=52)
        if not part.endswith("]") or (part != "$[]" and not _IDENTIFIER.match(part[2:-1])):
            raise UpdateError(
                f"{part} is not an array selector",
                path=where,
                code=2,
                hint="a name is a lower-case letter, then letters and digits",
            )
    if parts[0].startswith("$"):
        raise UpdateError("a positional part needs an array in front of it", path=where, code=2)
    if parts.count("$") > 1:
        raise UpdateError(
            "a path may hold one positional $", path=where, code=2, hint="use $[] or $[name] for inner arrays"
        )


def build(leaves: Iterable[tuple[tuple[str, ...], Leaf]]) -> Branch:
    """Return the tree of all operators; UpdateError with code 40 when one path is another's beginning."""
    root = Branch()
    for parts, leaf in leaves:
        _grow(root, parts, leaf)
    _arrange(root)
    return root


def _grow(branch: Branch, parts: tuple[str, ...], leaf: Leaf) -> None:
    last = len(parts) - 1
    for at, part in enumerate(parts):
        selects = part.startswith("$[")
        children, others = (branch.elements, branch.names) if selects else (branch.names, branch.elements)
        name = part[2:-1] if selects else part
        known = children.get(name)
        if others or (known is not None and (at == last or isinstance(known, Leaf))):
            raise _conflict(leaf.path)
        if at == last:
            children[name] = leaf
            return
        if known is None:
            known = children[name] = Branch()
        assert isinstance(known, Branch)
        branch = known


def _conflict(path: str) -> UpdateError:
    return UpdateError("two operators would change the same path", path=path, code=40)


def _arrange(branch: Branch) -> None:
    if len(branch.names) > 1:
        branch.names = dict(sorted(branch.names.items(), key=lambda item: _rank(item[0])))
    for child in (*branch.names.values(), *branch.elements.values()):
        if isinstance(child, Branch):
            _arrange(child)


def _rank(name: str) -> tuple[bool, int, str]:
    position = position_of(name)
    return (True, 0, name) if position is None else (False, position, "")


def change(tree: Tree, value: Any, context: Context, path: str = "") -> Any:
    """Return what the tree makes of a value; the same object when nothing changes."""
    if isinstance(tree, Leaf):
        return value if tree.idle(context) else tree.apply(value, context)
    if tree.elements:
        return _change_elements(tree, value, context, path)
    if value.__class__ is dict:
        return _change_object(tree, value, context, path)
    if value.__class__ is list:
        return _change_array(tree, value, context, path)
    if value is MISSING:
        made = {
            name: new
            for name, child in tree.names.items()
            if (new := change(child, MISSING, context, _at(path, name))) is not MISSING
        }
        return made or MISSING
    for name, child in tree.names.items():
        _refuse(child, value, name, path, context)
    return value


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _change_object(tree: Branch, value: dict[str, Any], context: Context, path: str) -> dict[str, Any]:
    result = value
    for name, child in tree.names.items():
        old = value.get(name, MISSING)
        new = change(child, old, context, _at(path, name))
        if new is old:
            continue
        if result is value:
            result = dict(value)
        if new is MISSING:
            del result[name]
        else:
            result[name] = new
    return result


def _change_array(tree: Branch, value: list[Any], context: Context, path: str) -> list[Any]:
    result = value
    for name, child in tree.names.items():
        position = position_of(name)
        if position is None:
            _refuse(child, value, name, path, context)
            continue
        _announce(child, context)
        old = value[position] if position < len(value) else MISSING
        new = change(child, old, context, _at(path, name))
        if new is old:
            continue
        if result is value:
            result = list(value)
        _put(result, position, None if new is MISSING else new, path)
    return result


def _announce(tree: Tree, context: Context) -> None:
    if isinstance(tree, Leaf):
        if not tree.idle(context):
            tree.enter_array()
        return
    for child in (*tree.names.values(), *tree.elements.values()):
        _announce(child, context)


def _put(array: list[Any], position: int, value: Any, path: str) -> None:
    padding = position - len(array)
    if padding > MAX_PADDING:
        raise UpdateError(f"an array cannot be padded with more than {MAX_PADDING} elements", path=path, code=166)
    if padding >= 0:
        array.extend([None] * padding)
        array.append(value)
    else:
        array[position] = value


def _refuse(tree: Tree, holder: Any, name: str, path: str, context: Context) -> None:
    """Refuse to go on below a value that is no object, unless the operators there do not mind."""
    if isinstance(tree, Leaf):
        if tree.tolerant or tree.idle(context):
            return
        hint = (
            "set the whole field, or use a position of the array" if holder.__class__ is list else "set the whole field"
        )
        raise UpdateError(
            f"cannot create field {name!r} in an element of type {type_name(holder)}", path=path, code=28, hint=hint
        )
    if tree.elements:
        raise _no_array(_at(path, name))
    for child in tree.names.values():
        _refuse(child, holder, name, path, context)


def _no_array(path: str) -> UpdateError:
    return UpdateError("array updates need an array there", path=path, code=2)


def _change_elements(tree: Branch, value: Any, context: Context, path: str) -> list[Any]:
    if value.__class__ is not list:
        raise _no_array(path)
    result: list[Any] = value
    for position, old in enumerate(value):
        chosen = [child for name, child in tree.elements.items() if not name or context.selectors[name](old)]
        if not chosen:
            continue
        child = chosen[0] if len(chosen) == 1 else _merged(chosen)
        _announce(child, context)
        new = change(child, old, context, _at(path, str(position)))
        if new is old:
            continue
        if result is value:
            result = list(value)
        result[position] = None if new is MISSING else new
    return result


def _merged(trees: list[Tree]) -> Tree:
    """Return several trees that met at one element as one."""
    return build(pair for tree in trees for pair in _leaves(tree, ())) if not _has_leaf(trees) else _clash(trees)


def _has_leaf(trees: list[Tree]) -> bool:
    return any(isinstance(tree, Leaf) for tree in trees)


def _clash(trees: list[Tree]) -> Tree:
    raise _conflict(next(tree.path for tree in trees if isinstance(tree, Leaf)))


def _leaves(tree: Tree, parts: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Leaf]]:
    if isinstance(tree, Leaf):
        yield parts, tree
        return
    for name, child in tree.names.items():
        yield from _leaves(child, (*parts, name))
    for name, child in tree.elements.items():
        yield from _leaves(child, (*parts, f"$[{name}]"))
