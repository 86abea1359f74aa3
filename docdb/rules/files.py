"""Rules and cases in files: JSON, and YAML where PyYAML is installed (the extra ``yaml``).

What lives here: ``read`` and ``load_file``. What it must not know: what a file means beyond its first level.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, Final

from docdb.errors import DocdbError, RuleError
from docdb.rules.parser import MAX_LENGTH
from docdb.rules.ruleset import RuleSet, load

__all__ = ["load_file", "load_mapping", "read"]

MOST_BYTES: Final = 4 << 20
YAML: Final = (".yaml", ".yml")


def load_file(
    path: str | os.PathLike[str], *, max_length: int = MAX_LENGTH, collections: Collection[str] | None = None
) -> dict[str, RuleSet]:
    """Return the checked rules of a file, ``{collection: rules}``; RuleError with collection and key at the first mistake."""
    found = read(path)
    if not isinstance(found, Mapping):
        raise RuleError("a file of rules is an object: {collection: rules}", path=os.fspath(path))
    return load_mapping(found, max_length=max_length, collections=collections)


def load_mapping(
    rules: Mapping[str, Any], *, max_length: int = MAX_LENGTH, collections: Collection[str] | None = None
) -> dict[str, RuleSet]:
    """Return checked rules by collection; the path of a RuleError begins with the collection."""
    loaded = {}
    for name, given in rules.items():
        if not isinstance(name, str) or not name or name.startswith("_"):
            raise RuleError(f"{name!r} is no collection that users reach", path=str(name))
        try:
            loaded[name] = load(given, max_length=max_length, collections=collections)
        except RuleError as error:
            error.path = f"{name}.{error.path}" if error.path else name
            raise
    return loaded


def read(path: str | os.PathLike[str]) -> Any:
    """Return what a JSON or YAML file says. Raises RuleError with line and column where it says nothing, OSError where it cannot be read."""
    name = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise RuleError(f"a file of rules has at most {MOST_BYTES} bytes", path=name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RuleError("not UTF-8", path=name) from error
    try:
        return _yaml(text) if name.endswith(YAML) else json.loads(text, object_pairs_hook=_once)
    except DocdbError as error:
        error.path = name if error.path is None else f"{name}: {error.path}"
        raise
    except json.JSONDecodeError as error:
        raise RuleError(f"this is no JSON: {error.msg}", path=name, line=error.lineno, column=error.colno) from error
    except RecursionError as error:
        raise RuleError("nested too deep", path=name) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RuleError(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found


def _yaml(text: str) -> Any:
    try:
        yaml = import_module("yaml")
    except ModuleNotFoundError as error:
        raise RuleError("YAML files need PyYAML", hint="pip install 'docdb-engine[yaml]', or write JSON") from error
    try:
        return yaml.load(text, Loader=_loader(yaml))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
        raise RuleError(
            f"this is no YAML: {getattr(error, 'problem', None) or error}", line=line, column=column
        ) from error


def _loader(yaml: Any) -> Any:
    """Return PyYAML's safe loader that refuses a key that stands twice, and aliases, which can make a small file huge."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # the package is imported when it is needed
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark
                raise RuleError("aliases are not read", line=mark.line + 1, column=mark.column + 1)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next((at for at, key in enumerate(keys) if key in keys[:at]), None)
            if twice is not None:
                mark = node.value[twice][0].start_mark
                raise RuleError(
                    f"the key {keys[twice]!r} stands twice in one object", line=mark.line + 1, column=mark.column + 1
                )
            return super().construct_mapping(node, deep)

    return Loader
