"""The program: global options, the table of verbs, and what becomes of errors.

What lives here: ``run``. What it must not know: what a verb does. Every failure is one line on stderr, never a traceback:

    0     done
    1     docdb or the operating system refused; ``check`` found problems; documents of an import were refused
    2     the command line is wrong
    130   interrupted (Ctrl-C)
    141   who read the output went away (``docdb export ... | head``)
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final

import click

import docdb
from docdb.cli.opening import Settings

__all__ = ["complain", "program", "run"]

VERBS: Final = {
    "aggregate": "aggregate",
    "backup": "backup",
    "check": "check",
    "compact": "compact",
    "count": "count",
    "delete": "delete",
    "distinct": "distinct",
    "explain": "explain",
    "export": "export",
    "find": "find",
    "import": "import_",
    "index": "index",
    "restore": "restore",
    "rules": "rules",
    "shell": "shell",
    "stats": "stats",
    "update": "update",
    "watch": "watch",
}
EXTRAS: Final = {"bson": "mongo", "prompt_toolkit": "cli", "rich": "cli"}
FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130
UNREAD: Final = 141


class Verbs(click.Group):
    """A group that imports the module of a verb when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = VERBS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = import_module(f"docdb.cli.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = get_close_matches(args[0], VERBS, 1)
            cure = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no verb {args[0]!r}{cure}", ctx)
        return super().resolve_command(ctx, args)


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--read-only", is_flag=True, help="Open the database for reading; verbs that write are refused.")
@click.option(
    "--durability",
    type=click.Choice(["full", "relaxed"]),
    default="full",
    show_default=True,
    help="relaxed: a power cut may undo the last commits, never damage the file.",
)
@click.version_option(docdb.__version__, prog_name="docdb", message="%(prog)s %(version)s")
@click.pass_context
def program(context: click.Context, read_only: bool, durability: str) -> None:
    """A document database in a folder.

    The order is always: docdb [global options] VERB PATH [COLLECTION] [...].

    \b
    docdb import shop.docdb cities.json.gz
    docdb find shop.docdb cities '{"country": "IT"}' --limit 3
    docdb shell shop.docdb
    """
    context.obj = Settings(read_only=read_only, durability=durability)


def run(argv: Sequence[str]) -> int:
    """Carry out a command line and return the exit code.

    >>> run(["--version"])
    docdb 0.1.0
    0
    """
    # Without a handler Python would print the slow operations of the log between the results.
    logging.getLogger("docdb").addHandler(logging.NullHandler())
    try:
        with program.make_context("docdb", list(argv)) as context:
            program.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        _abandon_output()
        return UNREAD
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except (click.ClickException, docdb.DocdbError, ModuleNotFoundError, OSError) as error:
        return INTERRUPTED if _was_interrupted(error) else _refused(error)
    return 0


def _was_interrupted(error: BaseException | None) -> bool:
    """Tell whether an error arose while Ctrl-C was on its way up, as when closing what was half open."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _refused(error: Exception) -> int:
    """Say on one line what was wrong and return the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return MISUSED
    if isinstance(error, ModuleNotFoundError) and error.name not in EXTRAS:
        raise error
    complain(_sentence(error))
    return MISUSED if isinstance(error, click.UsageError) else FAILED


def complain(text: str) -> None:
    """Write a failure to stderr, on one line."""
    click.echo(f"docdb: {' '.join(text.split())}", err=True)


def _sentence(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        cure = f" ({error.ctx.command_path} --help)" if error.ctx else ""
        return error.format_message().rstrip(".") + cure
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, ModuleNotFoundError):
        return f"this needs {error.name} (pip install 'docdb-engine[{EXTRAS[str(error.name)]}]')"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, docdb.RuleError):
        return str(error).partition("\n")[0]  # without the picture of the line
    return str(error) or type(error).__name__


def _abandon_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain."""
    nothing: Any = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, sys.stdout.fileno())
    except (OSError, ValueError):
        return  # stdout is no file: nothing will be flushed to a pipe
    finally:
        os.close(nothing)
