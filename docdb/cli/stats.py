"""``docdb stats``: sizes and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

import docdb
from docdb.cli.arguments import PATH
from docdb.cli.explain import readable
from docdb.cli.opening import opened
from docdb.cli.output import print_rows

__all__ = ["command", "size"]

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


@click.command("stats", short_help="Show sizes and counts.")
@PATH
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON, sizes in bytes.")
def command(path: str, as_json: bool) -> None:
    """Show the collections of the database, its storage, change log and oldest reader.

    \b
    docdb stats shop.docdb
    """
    with opened(path) as database:
        found = database.stats()
    if as_json:
        click.echo(docdb.ejson.dumps(found, indent=2))
        return
    rows = [_row(name, figures) for name, figures in found.pop("collections").items()]
    print_rows(("collection", "documents", "size", "indexes"), rows)
    click.echo("\n".join(readable(_sized(found))))


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    indexes = ", ".join(figures["indexes"])
    return [name, str(figures["documents"]), size(figures["bytes"]), indexes]


def _sized(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures with bytes as people read them."""
    shown: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, Mapping):
            shown[name] = _sized(value)
        else:
            shown[name] = size(value) if "bytes" in name and isinstance(value, int) else value
    return shown


def size(number: int) -> str:
    """Return bytes as people read them.

    >>> size(512), size(1536)
    ('512 bytes', '1.5 KiB')
    """
    amount, unit = float(number), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{number} bytes"
