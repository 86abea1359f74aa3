"""``docdb check``: does everything hold together."""

from __future__ import annotations

import click

from docdb.cli.arguments import PATH
from docdb.cli.opening import opened
from docdb.cli.progress import progress

__all__ = ["command"]


@click.command("check", short_help="Compare documents, indexes, counters and change log.")
@PATH
@click.option("--verify", is_flag=True, help="Check the pages of the file first, before any is used.")
@click.pass_context
def command(context: click.Context, path: str, verify: bool) -> None:
    """Read everything and compare documents, index entries, counters and change log. The exit code is 1 when something is wrong.

    Each problem begins with the number of the invariant in ARCHITECTURE.md. Nothing is changed.

    \b
    docdb check shop.docdb --verify
    """
    with opened(path, verify=verify) as database, progress("checking") as advance:
        report = database.check(lambda what, done: advance(done, None, what))
    for problem in report.problems:
        click.echo(problem)
    if not report.ok:
        context.exit(1)
    click.echo(
        f"ok: {report.collections} collections, {report.documents} documents, {report.entries} index entries, {report.changes} changes"
    )
