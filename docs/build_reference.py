"""The reference in docs/reference/, built from docstrings, signatures and the engine's own tables: ``make docs``.

What lives here: which names stand on which page, and how a name is printed. What it must not know: what any of them does.
tests/docs/test_reference.py fails when the pages are not what this program makes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "reference"

# page: (title, what stands there as "module:name"; "module:*" is every public name of the module)
PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "database": (
        "Databases, callers and transactions",
        (
            "docdb:open", "docdb:restore", "docdb:Database", "docdb:UserDatabase", "docdb.sessions.user_explain:Access",
            "docdb.sessions.user_gate:Denial", "docdb:Transaction", "docdb:SnapshotView",
        ),
    ),
    "collection": (
        "Collections, queries and results",
        (
            "docdb:Collection", "docdb.query:Query", "docdb.query:DocumentReference", "docdb.faces.cursor:Cursor",
            "docdb.faces.cursor:CommandCursor", "docdb.faces.results:Result", "docdb.faces.results:AddResult",
            "docdb.faces.results:UpdateOutcome", "docdb.faces.results:UpdateAndReturnOutcome", "docdb.faces.results:RemoveOutcome",
            "docdb.faces.results:InsertOneResult", "docdb.faces.results:InsertManyResult", "docdb.faces.results:UpdateResult",
            "docdb.faces.results:DeleteResult", "docdb.faces.results:BulkWriteResult", "docdb:InsertOne", "docdb:UpdateOne",
            "docdb:UpdateMany", "docdb:ReplaceOne", "docdb:DeleteOne", "docdb:DeleteMany",
        ),
    ),
    "aggregation": (
        "Aggregation and commands",
        (
            "docdb.faces.aggregation:Aggregation", "docdb.faces.aggregation:PipelineBuilder",
            "docdb.faces.aggregation:AggregateCursor", "docdb.command:*", "docdb.faces.expression_builders:Aggregate",
        ),
    ),
    "feeds": (
        "Change streams, live queries, consumers",
        (
            "docdb.feeds.streams:ChangeStream", "docdb.feeds.events:Change", "docdb.feeds.live:LiveQuery", "docdb.feeds.live_events:*",
            "docdb.feeds.delivery:Watcher", "docdb.feeds.waiting:Feed", "docdb.consumer:Consumer", "docdb.consumer:Trigger",
        ),
    ),
    "values": (
        "Values, errors, Extended JSON, geography",
        (
            "docdb:ObjectId", "docdb:Int64", "docdb:Binary", "docdb:Regex", "docdb:Timestamp", "docdb:MinKey", "docdb:MaxKey",
            "docdb.ejson:*", "docdb.geo:*",
        ),
    ),
}  # fmt: skip
SECTIONS = {"operators": "Operators and stages", "command_line": "The command line", "errors": "Errors"}


def main(folder: Path = FOLDER) -> None:
    """Write every page; those that are there and no longer made are removed."""
    folder.mkdir(exist_ok=True)
    made = dict(pages())
    for old in folder.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


def pages() -> Iterator[tuple[str, str]]:
    """Yield file name and text of every page."""
    titles = {name: title for name, (title, _) in PAGES.items()} | SECTIONS
    lines = [f"- [{title}]({name}.md)" for name, title in titles.items()]
    yield "README.md", _page("Reference", ["Made from the docstrings by `make docs`.", "\n".join(lines)])
    for name, (title, places) in PAGES.items():
        yield f"{name}.md", _page(title, [_entry(*found) for place in places for found in _named(place)])
    yield "operators.md", _page(SECTIONS["operators"], list(_operators()))
    yield "command_line.md", _page(SECTIONS["command_line"], list(_verbs()))
    yield "errors.md", _page(SECTIONS["errors"], list(_errors()))


def _page(title: str, parts: list[str]) -> str:
    return "\n\n".join([f"# {title}", *parts]) + "\n"


def _named(place: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, object) of what a place of the table says."""
    module_name, name = place.split(":")
    module = import_module(module_name)
    for found in module.__all__ if name == "*" else (name,):
        thing = getattr(module, found)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            yield found, thing


def _entry(name: str, thing: Any) -> str:
    """Return the text of a class or a function."""
    if not inspect.isclass(thing):
        return f"## {name}{_signature(thing)}\n\n{_text(thing)}"
    bases = [
        base.__name__
        for base in thing.__mro__[1:]
        if base.__module__.startswith("docdb") and not base.__name__.startswith("_")
    ]
    kin = [f"Has what {', '.join(f'`{base}`' for base in bases)} has."] if bases else []
    return "\n\n".join([f"## class {name}", _text(thing), *kin, *_members(thing)])


def _members(kind: type) -> Iterator[str]:
    """Yield the public methods and properties that a class, or a base of it without a public name, defines, in the order of the code."""
    seen: dict[str, Any] = {}
    for base in kind.__mro__:
        private = base is not kind and base.__name__.startswith("_")
        if base is kind or (private and base.__module__.startswith("docdb")):
            for name, member in vars(base).items():
                seen.setdefault(name, member)
    for name, member in seen.items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield f"**`.{name}`**  \n{_text(member)}"
        elif isinstance(member, staticmethod | classmethod) or inspect.isfunction(member):
            function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            if inspect.getdoc(function):
                yield f"**`.{name}{_signature(function, method=not isinstance(member, staticmethod))}`**  \n{_text(function)}"


def _signature(function: Callable[..., Any], *, method: bool = False) -> str:
    signature = inspect.signature(function)
    kept = list(signature.parameters.values())[1 if method else 0 :]
    plain = [
        parameter.replace(
            annotation=_Bare(parameter.annotation),
            default=_Bare("...") if type(parameter.default) is object else parameter.default,
        )
        for parameter in kept
    ]
    returned = signature.return_annotation
    tail = "" if returned is inspect.Signature.empty else f" -> {returned}"
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)) + tail


class _Bare(str):
    """An annotation as it is written, printed without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _text(thing: Any) -> str:
    """Return a docstring as Markdown: examples and indented tables become blocks of code."""
    lines: list[str] = []
    inside = False
    for line in (inspect.getdoc(thing) or "").splitlines():
        code = line.startswith((">>>", "...", "    ")) or (
            inside and line.strip() != "" and lines[-1].startswith(">>>")
        )
        if code and not inside:
            lines += ([""] if lines and lines[-1] else []) + ["```"]
        elif inside and not code and not line.strip():
            lines += ["```"]
            inside = False
        inside = code or (inside and bool(line.strip()))
        lines.append(line if inside else re.sub(r"``(.+?)``", r"`\1`", line))
    return "\n".join(lines + (["```"] if inside else []))


def _operators() -> Iterator[str]:
    """Yield a section for each table of operators the engine has."""
    from docdb.language import expressions, filters, updates
    from docdb.pipeline import accumulators, runner, window_functions

    tables = {
        "Filters: operators of a field": filters.KNOWN_OPERATORS,
        "Filters: operators of the document": filters.DOCUMENT_OPERATORS,
        "Filters: known and refused": filters.UNSUPPORTED_OPERATORS,
        "Updates": {*updates.OPERATORS, "$rename"},
        "Stages": runner.STAGES,
        "Accumulators": accumulators.ACCUMULATORS,
        "Window functions": window_functions.FUNCTIONS,
        "Expressions": expressions.OPERATORS,
    }
    for title, table in tables.items():
        yield f"## {title}\n\n" + " ".join(f"`{name}`" for name in sorted(table))


def _verbs() -> Iterator[str]:
    """Yield the help text of each verb."""
    import click

    from docdb.cli.main import VERBS, program

    context = click.Context(program, info_name="docdb", max_content_width=100, terminal_width=100)
    yield f"```\n{program.get_help(context)}\n```"
    for verb in VERBS:
        yield from _help(program.get_command(context, verb), verb, context)


def _help(command: Any, name: str, parent: Any) -> Iterator[str]:
    import click

    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    yield f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _help(command.get_command(context, inner), inner, context)


def _errors() -> Iterator[str]:
    """Yield the tree of errors and the table of their codes."""
    from docdb import errors

    tree = inspect.getdoc(errors) or ""
    yield f"```\n{tree}\n```"
    rows = ["| error | `code` | `errcode` | |", "|---|---|---|---|"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        said = (inspect.getdoc(kind) or "").splitlines()[0].replace("``", "`")
        rows.append(f"| `{name}` | {kind.code if kind.code is not None else ''} | `{kind.errcode}` | {said} |")
    yield "\n".join(rows)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
