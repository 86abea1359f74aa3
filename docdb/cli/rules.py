"""``docdb rules``: check, test, compare, explain and measure security rules, from files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

import docdb
from docdb.cli.arguments import COLLECTION, DOCUMENT, PATH, ExtendedJson
from docdb.cli.main import complain
from docdb.cli.opening import opened
from docdb.rules.cases import load_cases
from docdb.rules.coverage import Coverage
from docdb.rules.difference import ATTEMPTS, Difference, differences
from docdb.rules.files import load_file, load_mapping, read
from docdb.rules.kit import RuleKit
from docdb.rules.parser import MAX_LENGTH
from docdb.rules.ruleset import ACTIONS, RuleSet, lint_all, load
from docdb.rules.tracing import shown

__all__ = ["command"]

FILE: Final = click.Path(dir_okay=False)
AUTH: Final = ExtendedJson("auth", dict, type(None))


@click.group("rules", short_help="Check, test, compare and explain security rules.")
def command() -> None:
    """Work on files of security rules: {collection: rules}, as JSON or YAML. Only load and show open a database.

    \b
    docdb rules check rules.json
    docdb rules test posts.test.yaml
    docdb rules diff rules.json new-rules.json
    docdb rules load shop.docdb rules.json
    """


@command.command("check")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--collections", help="The names of all collections: a,b,c. A get of another one is a mistake.")
@click.option(
    "--max-length",
    type=click.IntRange(min=1),
    default=MAX_LENGTH,
    show_default=True,
    help="Characters of an expression.",
)
@click.option("--strict", is_flag=True, help="The exit code is 1 for warnings, too.")
@click.pass_context
def check(
    context: click.Context, files: tuple[str, ...], collections: str | None, max_length: int, strict: bool
) -> None:
    """Check FILES: every mistake with line, column and a caret, then what is probably not meant. The exit code is 1 for mistakes.

    \b
    docdb rules check rules.json --collections users,posts,roles
    """
    known = None if collections is None else [name.strip() for name in collections.split(",")]
    mistakes = warnings = count = 0
    for file in files:
        loaded, wrong = _checked(file, known, max_length)
        for error in wrong:
            complain(str(error).partition("\n")[0])
            if error.picture:
                click.echo(error.picture, err=True)
        mistakes += len(wrong)
        for line in _warnings(file, loaded):
            click.echo(line)
            warnings += 1
        count += sum(1 for rules in loaded.values() for _ in rules.expressions())
    if mistakes or (warnings and strict):
        context.exit(1)
    click.echo(f"ok: {count} expressions, {warnings} warnings" if warnings else f"ok: {count} expressions")


def _checked(
    file: str, collections: list[str] | None, max_length: int
) -> tuple[dict[str, RuleSet], list[docdb.RuleError]]:
    """Return what loads, and the first mistake of each expression, so that one run shows all."""
    found = read(file)
    if not isinstance(found, Mapping):
        raise docdb.RuleError("a file of rules is an object: {collection: rules}", path=file)
    loaded: dict[str, RuleSet] = {}
    wrong: list[docdb.RuleError] = []
    for name, given in found.items():
        before = len(wrong)
        for part in _parts(given):
            try:
                load_mapping({name: part}, max_length=max_length, collections=collections)
            except docdb.RuleError as error:
                error.path = f"{file}: {error.path}"
                wrong.append(error)
        if len(wrong) == before:
            loaded[name] = load(given, max_length=max_length, collections=collections)
    return loaded, wrong


def _parts(given: Any) -> Iterator[Any]:
    """Yield a rule object expression by expression."""
    if not isinstance(given, Mapping) or not given:
        yield given
        return
    for key, value in given.items():
        if key == "fields" and isinstance(value, Mapping):
            for path, rule in value.items():
                single = isinstance(rule, Mapping) and rule
                yield from ({key: {path: {way: rule[way]}}} for way in rule) if single else [{key: {path: rule}}]
        else:
            yield {key: value}


def _warnings(file: str, loaded: Mapping[str, RuleSet]) -> Iterator[str]:
    for name, by_key in lint_all(loaded).items():
        for key, found in by_key.items():
            for lint in found:
                yield f"{file}: {name}.{key}:{lint.place.line}:{lint.place.column}: warning: {lint.message}"


@command.command("test")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--rules", "rules_file", type=FILE, help="The rules to test instead of those that the files name.")
@click.option("--verbose", "-v", is_flag=True, help="Every case, and the trace of those that fail.")
@click.pass_context
def test(context: click.Context, files: tuple[str, ...], rules_file: str | None, verbose: bool) -> None:
    """Run FILES of cases: each an action, and whether it must be allowed. The exit code is 1 when one is not as expected.

    \b
    docdb rules test posts.test.yaml --verbose
    """
    wrong = count = 0
    for file, kit in _kits(files, rules_file):
        for outcome in kit.outcomes(file):
            count += 1
            wrong += not outcome.ok
            if not outcome.ok or verbose:
                mark = "ok     " if outcome.ok else "FAILED "
                click.echo(
                    f"{mark}{file.path}: {outcome.case.name}{': ' if outcome.complaint else ''}{outcome.complaint}"
                )
            if verbose and not outcome.ok:
                _print_traces(outcome.verdict.traces)
    if wrong:
        complain(f"{wrong} of {count} cases failed")
        context.exit(1)
    click.echo(f"ok: {count} cases")


def _kits(files: tuple[str, ...], rules_file: str | None) -> Iterator[tuple[Any, RuleKit]]:
    rules = None if rules_file is None else load_file(rules_file)
    kit = None if rules is None else RuleKit(rules)
    for path in files:
        file = load_cases(path, rules=rules)
        yield file, kit if kit is not None else RuleKit(file.rules)


@command.command("coverage")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--rules", "rules_file", type=FILE, help="The rules to test instead of those that the files name.")
@click.option("--html", type=FILE, help="Write a page that shows each rule with its parts coloured.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, allow_dash=True), help="Write the counts; - is stdout."
)
@click.option("--fail-under", type=click.IntRange(0, 100), default=0, help="The exit code is 1 below this per cent.")
@click.pass_context
def coverage(
    context: click.Context,
    files: tuple[str, ...],
    rules_file: str | None,
    html: str | None,
    json_file: str | None,
    fail_under: int,
) -> None:
    """Run FILES of cases for the same rules and show which parts of the rules were seen true, seen false, or never asked.

    \b
    docdb rules coverage posts.test.yaml --rules rules.json --html coverage.html
    """
    merged: dict[str, RuleSet] | None = load_file(rules_file) if rules_file is not None else None
    if merged is None:
        first = load_cases(files[0])
        merged = dict(first.rules)
    kit = RuleKit(merged)
    wrong = sum(not outcome.ok for path in files for outcome in kit.outcomes(load_cases(path, rules=merged)))
    found = kit.coverage
    if html is not None:
        Path(html).write_text(found.to_html(), encoding="utf-8")
    if json_file is not None:
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False)
        if json_file == "-":
            click.echo(text)
        else:
            Path(json_file).write_text(text + "\n", encoding="utf-8")
    if json_file != "-":
        for line in _summary(found):
            click.echo(line)
    if wrong:
        complain(f"{wrong} cases failed")
    if wrong or found.share * 100 < fail_under:
        context.exit(1)


def _summary(found: Coverage) -> Iterator[str]:
    """Yield the share, and the parts that were not seen both ways."""
    data = found.to_dict()
    yield f"{data['share']:.0%} of the branches"
    for name, by_key in data["collections"].items():
        for key, row in by_key.items():
            for part in row["parts"]:
                if part["branch"] and part["state"] != "both":
                    word = {
                        "true": "never false",
                        "false": "never true",
                        "failed": "only failed",
                        "never": "never asked",
                    }[part["state"]]
                    text = " ".join(part["text"].split())
                    yield f"  {name}.{key}:{part['line']}:{part['column']}: {word}: {text}"


@command.command("diff")
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option("--collection", "only", help="This collection alone.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another search.")
@click.option(
    "--attempts",
    type=click.IntRange(min=1),
    default=ATTEMPTS,
    show_default=True,
    help="Starts of the search for one action.",
)
@click.option("--json", "as_json", is_flag=True, help="One difference a line.")
@click.pass_context
def diff(context: click.Context, old: str, new: str, only: str | None, seed: int, attempts: int, as_json: bool) -> None:
    """Look for a document and a caller that the rules of NEW allow and those of OLD deny. The exit code is 1 when there is one.

    It is a search among what the constants of both suggest: what it finds is so, but finding nothing proves nothing.

    \b
    docdb rules diff rules.json new-rules.json
    """
    before, after = load_file(old), load_file(new)
    names = [only] if only is not None else sorted(after)
    if only is not None and only not in after:
        raise click.ClickException(f"{new} has no rules for {only!r}")
    found = 0
    for name in names:
        for difference in differences(before.get(name, RuleSet({}, {})), after[name], seed=seed, attempts=attempts):
            found += 1
            click.echo(
                docdb.ejson.dumps(_difference(name, difference)) if as_json else "\n".join(_told(name, difference))
            )
    if found:
        context.exit(1)
    if not as_json:
        click.echo("found nothing that the new rules allow and the old ones deny (a search, not a proof)")


def _difference(name: str, found: Difference) -> dict[str, Any]:
    return {
        "collection": name, "action": found.action, "field": found.field, "auth": found.auth, "now": found.now, "old": found.old,
        "new": found.new, "documents": found.documents, "denied": found.denied.reason, "allowed": found.allowed.reason,
    }  # fmt: skip


def _told(name: str, found: Difference) -> Iterator[str]:
    what = f" of {found.field}" if found.field else ""
    yield f"{name}: {found.action}{what} is allowed now"
    yield f"  auth       {shown(found.auth)}"
    if found.old is not None:
        yield f"  stored     {shown(found.old)}"
    if found.new is not None:
        yield f"  new        {shown(found.new)}"
    for collection, rows in found.documents.items():
        yield f"  {collection}: {', '.join(shown(row) for row in rows)}"
    yield f"  before     {found.denied.reason}"
    yield f"  now        {found.allowed.reason}"


@command.command("explain")
@click.argument("file", type=FILE)
@COLLECTION
@click.argument("action", type=click.Choice(ACTIONS))
@click.option("--auth", type=AUTH, default="null", help="The caller; null is the anonymous one.")
@click.option("--doc", type=DOCUMENT, help="What is stored; in a create what will be.")
@click.option("--new", type=DOCUMENT, help="What will be stored.")
@click.option("--data", type=DOCUMENT, help="What an update changes: fields or operators.")
@click.option("--documents", type=DOCUMENT, default="{}", help="What the rules get: {collection: [documents]}.")
@click.option("--now", help="A date, or milliseconds since 1970.")
@click.option("--json", "as_json", is_flag=True, help="Verdict and traces as JSON.")
@click.pass_context
def explain(
    context: click.Context, file: str, collection: str, action: str, auth: Any, doc: Any, new: Any, data: Any, documents: Any,
    now: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Show what each part of the rule of COLLECTION for ACTION comes to. The exit code is 1 when it denies.

    \b
    docdb rules explain rules.json posts update --auth '{"uid": "ann"}' --doc '{"owner": "bob"}' --data '{"title": "x"}'
    """
    clock = int(now) if now is not None and now.lstrip("-").isdigit() else now
    kit = RuleKit(load_file(file), documents=documents, now=clock)
    verdict = kit.verdict(
        action, collection, auth=auth, doc=doc if doc is not None or new is not None else {}, new=new, data=data
    )
    if as_json:
        click.echo(json.dumps(_explained(verdict), indent=2, ensure_ascii=False))
    else:
        click.echo(f"{'allowed' if verdict.allowed else 'denied'}: {verdict.reason}")
        _print_traces(verdict.traces)
        _print_traces(verdict.fields)
        if verdict.hidden:
            click.echo(f"hidden: {', '.join(sorted(verdict.hidden))}")
    if not verdict.allowed:
        context.exit(1)


def _explained(verdict: Any) -> dict[str, Any]:
    return {
        "allowed": verdict.allowed, "key": verdict.key, "reason": verdict.reason, "hidden": sorted(verdict.hidden),
        "unwritable": sorted(verdict.unwritable),
        "images": {image: found.to_dict() for image, found in verdict.traces.items()},
        "fields": {key: found.to_dict() for key, found in verdict.fields.items()},
    }  # fmt: skip


def _print_traces(traces: Mapping[str, Any]) -> None:
    for name, found in traces.items():
        if len(traces) > 1 or "." in name:
            click.echo(f"{name}:")
        for line in found.lines():
            click.echo(f"  {line}")


@command.command("load")
@PATH
@click.argument("file", type=FILE)
@click.option("--who", help="Noted beside the rules: whoever sets them.")
def load_into(path: str, file: str, who: str | None) -> None:
    """Set the rules of all collections in FILE, in one commit or not at all; rules of other collections stay as they are.

    \b
    docdb rules load shop.docdb rules.json --who ann
    """
    with opened(path, write=True) as database:
        for name, version in sorted(database.load_rules(file, who=who).items()):
            click.echo(f"{name}: version {version}")


@command.command("show")
@PATH
def show_all(path: str) -> None:
    """Print the rules that are set, as a file that load takes; versions, times and names go to stderr.

    \b
    docdb rules show shop.docdb > rules.json
    """
    with opened(path) as database:
        found = database.list_rules()
    for rules in found:
        who = f" by {rules['who']}" if rules["who"] else ""
        click.echo(f"{rules['name']}: version {rules['version']}, {rules['when']:%Y-%m-%d %H:%M:%S} UTC{who}", err=True)
    click.echo(json.dumps({rules["name"]: rules["rules"] for rules in found}, ensure_ascii=False, indent=2))
