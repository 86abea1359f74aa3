"""``docdb shell``: lines, one after the other."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

import docdb
from docdb.cli.arguments import PATH
from docdb.cli.opening import Settings, opened
from docdb.cli.output import Form, default_format, standard_output, write_documents
from docdb.cli.shell_language import Evaluator, ShellError, is_complete

__all__ = ["Shell", "command"]

PAGE: Final = 50  # documents at a time on a terminal; "it" shows the next
HELP: Final = """\
users.find({age: {$gt: 3}}).sort({age: -1}).limit(3)     any method of a collection, in docdb's or MongoDB's spelling
users.where({city: "Shanghai"}).count()                  the native face too
db["my-collection"].insertOne({_id: ObjectId(), when: ISODate("2024-01-02")})
db.stats()                                               methods of the database
collections                                              the names of all collections
format table | json | ndjson | csv                       how documents are shown
it                                                       the next documents of the last answer
help, exit"""


@click.command("shell", short_help="Ask and change interactively, or from a script.")
@PATH
@click.option(
    "--command", "-c", "commands", multiple=True, help="Carry out this line and end; may stand several times."
)
@click.option("--format", "-f", type=click.Choice(["csv", "json", "ndjson", "table"]), help="How documents are shown.")
@click.option("--history", type=click.Path(dir_okay=False), envvar="DOCDB_HISTORY", help="File of lines typed before.")
@click.pass_obj
def command(settings: Settings, path: str, commands: tuple[str, ...], format: str | None, history: str | None) -> None:
    """Carry out lines on the database at PATH (created when absent): typed, with completion and history, or read from stdin.

    A script ends with its first wrong line; blank lines and lines that begin with # or // are skipped.

    \b
    docdb shell shop.docdb
    docdb shell shop.docdb -c 'users.find({age: {$gt: 30}}).sort({age: -1}).limit(3)'
    echo 'users.countDocuments({})' | docdb shell shop.docdb
    """
    write = not settings.read_only
    interactive = not commands and sys.stdin.isatty()
    with opened(path, write=write, create=write, snapshot_limit_s=None) as database:
        shell = Shell(database, format or default_format(), page=PAGE if interactive else None)
        if interactive:
            _talk(shell, database, history)
        else:
            _carry_out(shell, commands or sys.stdin)


class Shell:
    """Carries out lines and shows what they answer."""

    def __init__(self, database: docdb.Database, format: str, *, page: int | None = None) -> None:
        self.ended = False
        self._database = database
        self._evaluator = Evaluator(database)
        self._format = format
        self._page = page
        self._rest: Iterator[Any] = iter(())

    def run(self, line: str) -> None:
        """Carry out one line. Raises ShellError and DocdbError."""
        word, _, argument = line.strip().rstrip(";").partition(" ")
        order = _ORDERS.get(word)
        if order is not None:
            order(self, argument.strip())
        else:
            self._show(self._evaluator.run(line))

    def _show(self, answer: Any) -> None:
        """Show documents in the chosen format, results and values as JSON."""
        if type(answer).__name__ in ("Collection", "DocumentReference"):
            raise ShellError("nothing was asked", hint="end the line with a method such as find() or get()")
        if isinstance(answer, docdb.Database) or answer is None:
            return
        if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
            answer = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
            answer.pop("acknowledged", None)
        if isinstance(answer, Mapping):
            click.echo(docdb.ejson.dumps(answer, indent=2))
        elif isinstance(answer, Iterable) and not isinstance(answer, str | bytes):
            self._rest = iter(answer)
            self._more()
        else:
            click.echo(docdb.ejson.dumps(answer))

    def _more(self, _: str = "") -> None:
        """Show the next page, on a terminal; everything where there is no page."""
        form = Form(self._format, indent=2)
        first = next(self._rest, None)
        if first is None:
            return
        if not isinstance(first, Mapping):
            for value in [first, *self._rest]:
                click.echo(docdb.ejson.dumps(value))
            return
        left = None if self._page is None else self._page - 1
        shown = write_documents(_behind(first, islice(self._rest, left)), form, standard_output())
        if shown == self._page:
            click.echo('there may be more: type "it"')

    def _list(self, _: str) -> None:
        for name in self._database.list_collection_names():
            click.echo(name)

    def _choose(self, format: str) -> None:
        if format not in ("csv", "json", "ndjson", "table"):
            raise ShellError("the formats are csv, json, ndjson and table")
        self._format = format

    def _help(self, _: str) -> None:
        click.echo(HELP)

    def _end(self, _: str) -> None:
        self.ended = True


def _behind(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from rest


_ORDERS: Final[dict[str, Callable[[Shell, str], None]]] = {
    "collections": Shell._list,
    "exit": Shell._end,
    "format": Shell._choose,
    "help": Shell._help,
    "it": Shell._more,
    "quit": Shell._end,
    "show": Shell._list,
}


def _carry_out(shell: Shell, lines: Iterable[str]) -> None:
    """Carry out a script. Raises click.ClickException with the number of the first wrong line."""
    waiting, began = "", 1
    for number, line in enumerate(lines, 1):
        if not waiting and (not line.strip() or line.lstrip().startswith(("#", "//"))):
            continue
        began = began if waiting else number
        waiting += line if line.endswith("\n") else f"{line}\n"
        if not is_complete(waiting):
            continue
        _attempt(shell, waiting, began)
        waiting = ""
        if shell.ended:
            return
    if waiting:
        _attempt(shell, waiting, began)


def _attempt(shell: Shell, text: str, number: int) -> None:
    try:
        shell.run(text)
    except ShellError as error:
        raise click.ClickException(f"line {number + error.line - 1}: {error}") from error
    except docdb.DocdbError as error:
        raise click.ClickException(f"line {number}: {error}") from error


def _talk(shell: Shell, database: docdb.Database, history: str | None) -> None:
    """Ask for lines until the end of input; a wrong one is told and the next one asked for."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    from docdb.cli.completion import ShellCompleter
    from docdb.cli.main import complain

    session: PromptSession[str] = PromptSession(
        history=FileHistory(history or _history_file()), completer=ShellCompleter(database.list_collection_names)
    )
    click.echo(f"docdb {docdb.__version__} on {database.path}; help tells more, Ctrl-D ends")
    while not shell.ended:
        try:
            line = session.prompt("> ")
            while not is_complete(line):
                line += "\n" + session.prompt(". ")
            if line.strip():
                shell.run(line)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        except (ShellError, docdb.DocdbError) as error:
            complain(str(error))


def _history_file() -> str:
    """Return where lines are kept: below $XDG_STATE_HOME, or ~/.local/state."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "docdb"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / "history")
