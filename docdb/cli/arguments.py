"""What stands on a command line: documents, sorts, lists of fields.

What lives here: click's parameter types and the options several verbs share. What it must not know: databases.

Documents are relaxed Extended JSON; ``@FILE`` reads them from a file and ``-`` from stdin. A sort or a list of index keys may be said as
``country,-population``, a projection as ``name,country``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

import docdb

__all__ = [
    "COLLECTION", "DOCUMENT", "FIELDS", "FILTER", "KEYS", "LIMIT", "PATH", "PIPELINE", "PROJECTION", "SKIP", "SORT", "UPDATE", "order_pairs",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])
JSON_TYPES: Final = {
    bool: "a boolean",
    dict: "a document",
    float: "a number",
    int: "a number",
    list: "a list",
    str: "text",
    type(None): "null",
}


class ExtendedJson(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """A value in Extended JSON, of the kinds that are allowed here."""

    def __init__(self, name: str, *kinds: type) -> None:
        self.name = name
        self.kinds = kinds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            found = docdb.ejson.loads(_text(value))
        except OSError as error:
            self.fail(f"{value[1:]}: {error.strerror}", param, ctx)
        except UnicodeDecodeError:
            self.fail(f"{value[1:] or 'stdin'}: not UTF-8", param, ctx)
        except docdb.DocdbError as error:
            self.fail(f"{error}{_quoting(value)}", param, ctx)
        if not isinstance(found, self.kinds):
            wanted = " or ".join(JSON_TYPES[kind] for kind in self.kinds)
            self.fail(f"this is {wanted}, not {JSON_TYPES.get(type(found), type(found).__name__)}", param, ctx)
        return found


class Names(click.ParamType):  # type: ignore[type-arg]
    """A list of fields: ``name,address.city``."""

    name = "a,b.c"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        names: list[str] = value if isinstance(value, list) else [name.strip() for name in value.split(",")]
        if not all(names):
            self.fail("a name between the commas is empty", param, ctx)
        return names


class Order(click.ParamType):  # type: ignore[type-arg]
    """Fields with directions: ``country,-population`` or ``{"country": 1, "population": -1}``."""

    name = "a,-b"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[tuple[str, int]]:
        if isinstance(value, list):
            return value
        if value.lstrip().startswith(("{", "@")):
            return list(DOCUMENT.convert(value, param, ctx).items())
        return order_pairs(Names().convert(value, param, ctx))


class Projection(click.ParamType):  # type: ignore[type-arg]
    """Fields to show: ``name,country`` or a projection document."""

    name = "projection"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value.lstrip().startswith(("{", "@")):
            return DOCUMENT.convert(value, param, ctx)
        return dict.fromkeys(Names().convert(value, param, ctx), 1)


def order_pairs(names: list[str]) -> list[tuple[str, int]]:
    """Return names as (field, direction) pairs; a minus sign in front means descending.

    >>> order_pairs(["country", "-population"])
    [('country', 1), ('population', -1)]
    """
    return [(name.lstrip("+-"), -1 if name.startswith("-") else 1) for name in names]


def _text(value: str) -> str:
    if value == "-":
        return sys.stdin.read()
    if value.startswith("@"):
        return Path(value[1:]).read_text(encoding="utf-8-sig")
    return value


def _quoting(value: str) -> str:
    """Name the commonest mistake where it is likely."""
    return "; JSON text stands in double quotes" if "'" in value and '"' not in value else ""


DOCUMENT: Final = ExtendedJson("document", dict)
CHANGE: Final = ExtendedJson("update", dict, list)
STAGES: Final = ExtendedJson("pipeline", list, dict)

PATH: Final = click.argument("path", type=click.Path())
COLLECTION: Final = click.argument("collection")
FILTER: Final = click.argument("filter", type=DOCUMENT, default="{}", required=False)
UPDATE: Final = click.argument("update", type=CHANGE)
PIPELINE: Final = click.argument("pipeline", type=STAGES)
KEYS: Final = click.argument("keys", type=Order())
FIELDS: Final = click.option("--fields", type=Names(), help="Only these fields.")
PROJECTION: Final = click.option(
    "--projection", "-p", type=Projection(), help="Fields to show: name,country or a projection document."
)
SORT: Final = click.option("--sort", "-s", type=Order(), help="Order: country,-population or a sort document.")
LIMIT: Final = click.option("--limit", "-n", type=click.IntRange(min=1), help="At most so many documents.")
SKIP: Final = click.option("--skip", type=click.IntRange(min=0), default=0, help="Leave out the first documents.")
