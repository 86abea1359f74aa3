"""Tests of rules as data: a file of cases, each an action that must be allowed or denied.

What lives here: what a case file may say, and ``run``. What it must not know: databases, the command line, pytest.

    rules       a file of rules beside this one, or the rules themselves: {collection: rules}
    users       {name: auth}, so that a case may say ``auth: ann``; ``auth: null`` is the anonymous caller
    documents   {collection: [documents]} for what the rules ``get``
    now         the time of all cases: a date, or milliseconds since 1970
    cases       a list of cases:
        name, collection, action, expect    action: read, create, update, delete; expect: allow or deny
        auth, now, documents                for this case; documents of a collection take the place of those above
        doc (or old)                        what is stored
        new                                 what will be stored; in an update ``data`` may say what changes instead: fields or operators
        hidden, unwritable                  the fields that a reader does not get, that were changed and may not be: exactly these
        reason                              a part of the reason that must decide

Values are Extended JSON. An upsert is a create or an update, whichever it will be; what the server sets on create (``_openid``) stands in ``new``.
"""

from __future__ import annotations

import datetime as dt
import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from docdb import ejson
from docdb.errors import DocdbError, RuleError
from docdb.language.updates import parse_update
from docdb.language.values import canonical
from docdb.rules.evaluator import Circumstances
from docdb.rules.files import load_file, load_mapping, read
from docdb.rules.readers import Documents
from docdb.rules.ruleset import ACTIONS, RuleSet
from docdb.rules.verdicts import Verdict, judge

__all__ = ["Case", "CaseFile", "Outcome", "circumstances", "load_cases", "milliseconds", "run"]

EXPECTED: Final = {"allow": True, "deny": False}
FILE_KEYS: Final = ("rules", "users", "documents", "now", "cases")
CASE_KEYS: Final = (
    "name", "collection", "action", "expect", "auth", "now", "documents", "doc", "old", "new", "data", "hidden", "unwritable", "reason",
)  # fmt: skip
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Case:
    """One action and what must come of it."""

    name: str
    collection: str
    action: str
    expect: bool
    about: Circumstances
    hidden: frozenset[str] | None = None
    unwritable: frozenset[str] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CaseFile:
    """The cases of a file and the rules they are for."""

    path: str
    rules: Mapping[str, RuleSet]
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case; ``complaint`` is empty when it is as expected."""

    case: Case
    verdict: Verdict
    complaint: str = ""

    @property
    def ok(self) -> bool:
        return not self.complaint


def load_cases(path: str | os.PathLike[str], *, rules: Mapping[str, RuleSet] | None = None) -> CaseFile:
    """Return the cases of a file, for its own rules or those given. Raises RuleError with the path of the first mistake."""
    name = os.fspath(path)
    try:
        found = _mapping(read(path), "a file of cases", FILE_KEYS)
        loaded = rules if rules is not None else _rules(found, name)
        return CaseFile(name, loaded, tuple(_cases(found, loaded)))
    except DocdbError as error:
        if not (error.path or "").startswith(name):
            error.path = f"{name}: {error.path}" if error.path else name
        raise


def run(file: CaseFile) -> Iterator[Outcome]:
    """Judge each case."""
    for case in file.cases:
        verdict = judge(file.rules[case.collection], case.action, case.about)
        yield Outcome(case, verdict, "; ".join(_complaints(case, verdict)))


def circumstances(
    *, auth: Any, now: Any = None, documents: Any = None, old: Any = None, new: Any = None, data: Any = None
) -> Circumstances:
    """Return what a rule may look at, from values of a developer: ``data`` is what an update changes (fields or operators)."""
    clock = milliseconds(now)
    stored, coming = _value(old, "doc"), _value(new, "new")
    if data is not None:
        if coming is not None:
            raise RuleError("new is the whole document, data what changes: one of them", path="data")
        coming = _applied(stored, _value(data, "data"), clock)
    caller = _value(auth, "auth")
    if caller is not None and not isinstance(caller, Mapping):
        raise RuleError("auth is an object or null", path="auth")
    reader = Documents(_documents(documents or {}))
    return Circumstances(auth=caller, now=clock, old=stored, new=coming, reader=reader)


def milliseconds(now: Any) -> int:
    """Return a date, or milliseconds, as milliseconds since 1970; the present for None."""
    if now is None:
        now = dt.datetime.now(dt.UTC)
    if isinstance(now, str):
        try:
            now = dt.datetime.fromisoformat(now)
        except ValueError as error:
            raise RuleError(f"{now!r} is no date", path="now", hint="2026-01-31T12:00:00Z, or milliseconds") from error
    if isinstance(now, dt.datetime):
        return _since(now)
    if isinstance(now, dt.date):
        return _since(dt.datetime(now.year, now.month, now.day, tzinfo=dt.UTC))
    if type(now) is not int:
        raise RuleError("now is a date or milliseconds", path="now")
    return now


def _since(moment: dt.datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(milliseconds=1)


def _rules(found: Mapping[str, Any], name: str) -> dict[str, RuleSet]:
    given = found.get("rules")
    if isinstance(given, str):
        return load_file(os.path.join(os.path.dirname(name), given))
    if not isinstance(given, Mapping):
        raise RuleError("which rules: a file beside this one, or an object", path="rules")
    try:
        return load_mapping(given)
    except RuleError as error:
        error.path = f"rules.{error.path}"
        raise


def _cases(found: Mapping[str, Any], rules: Mapping[str, RuleSet]) -> Iterator[Case]:
    cases = found.get("cases")
    if not isinstance(cases, list) or not cases:
        raise RuleError("there are no cases", path="cases")
    for number, case in enumerate(cases):
        try:
            yield _case(_mapping(case, "a case", CASE_KEYS), found, rules)
        except DocdbError as error:
            error.path = f"cases.{number}.{error.path}" if error.path else f"cases.{number}"
            raise


def _case(case: Mapping[str, Any], file: Mapping[str, Any], rules: Mapping[str, RuleSet]) -> Case:
    collection = _one_of(case, "collection", tuple(rules))
    action = _one_of(case, "action", ACTIONS)
    if "doc" in case and "old" in case:
        raise RuleError("doc and old are the same: what is stored", path="old")
    old, new, data = case.get("doc", case.get("old")), case.get("new"), case.get("data")
    if action == "create":
        if new is None and "doc" in case:
            old, new = None, case["doc"]
        if new is None and data is not None:
            new, data = data, None
    _fits(action, old, new, data)
    about = circumstances(
        auth=_user(case.get("auth"), file.get("users", {})),
        now=case.get("now", file.get("now")),
        documents={**_object(file, "documents"), **_object(case, "documents")},
        old=old,
        new=new,
        data=data,
    )
    return Case(
        str(case.get("name") or f"{action} {collection}"),
        collection,
        action,
        EXPECTED[_one_of(case, "expect", tuple(EXPECTED))],
        about,
        _names(case, "hidden"),
        _names(case, "unwritable"),
        None if case.get("reason") is None else str(case["reason"]),
    )


def _fits(action: str, old: Any, new: Any, data: Any) -> None:
    if action in ("read", "delete", "update") and old is None:
        raise RuleError(f"{'an' if action == 'update' else 'a'} {action} needs what is stored", path="doc")
    if action in ("read", "delete") and not (new is None and data is None):
        raise RuleError(f"a {action} brings no data", path="new" if data is None else "data")
    if action == "create" and (new is None or data is not None or old is not None):
        raise RuleError("a create needs the new document, and nothing else", path="new")
    if action == "update" and new is None and data is None:
        raise RuleError("an update needs new, the whole document, or data, what changes", path="data")


def _applied(stored: Any, data: Any, clock: int) -> dict[str, Any]:
    if not isinstance(stored, Mapping):
        raise RuleError("data changes a document, and there is none", path="doc")
    moment = _EPOCH + dt.timedelta(milliseconds=clock)
    merge = not any(str(key).startswith("$") for key in data) if isinstance(data, Mapping) else False
    return parse_update(data, merge=merge, naive_utc=True).apply(dict(stored), now=moment)


def _user(auth: Any, users: Any) -> Any:
    if not isinstance(auth, str):
        return auth
    if not isinstance(users, Mapping) or auth not in users:
        raise RuleError(f"there is no user {auth!r}", path="auth", hint=_near(auth, users))
    return users[auth]


def _documents(given: Any) -> dict[str, list[Mapping[str, Any]]]:
    if not isinstance(given, Mapping):
        raise RuleError("documents are {collection: [documents]}", path="documents")
    found = {}
    for name, rows in given.items():
        values = _value(rows, f"documents.{name}")
        if not isinstance(values, list) or not all(isinstance(row, Mapping) and "_id" in row for row in values):
            raise RuleError("these are documents, each with an _id", path=f"documents.{name}")
        found[name] = values
    return found


def _value(value: Any, path: str) -> Any:
    """Return a value as it would be stored, Extended JSON decoded."""
    try:
        return canonical(ejson.decode(value), naive_utc=True)
    except DocdbError as error:
        error.path = f"{path}.{error.path}" if error.path else path
        raise


def _complaints(case: Case, verdict: Verdict) -> Iterator[str]:
    if verdict.allowed is not case.expect:
        yield f"{'denied' if case.expect else 'allowed'}: {verdict.reason}"
    elif case.reason is not None and case.reason not in verdict.reason:
        yield f"the reason is another one: {verdict.reason}"
    for name in ("hidden", "unwritable"):
        wanted, found = getattr(case, name), getattr(verdict, name)
        if wanted is not None and wanted != found:
            yield f"{name}: {', '.join(sorted(found)) or 'none'}, not {', '.join(sorted(wanted)) or 'none'}"


def _mapping(value: Any, what: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RuleError(f"{what} is an object")
    for key in value:
        if key not in known:
            raise RuleError(f"{what} has no key {key!r}", hint=_near(key, known))
    return value


def _object(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key, {})
    if not isinstance(found, Mapping):
        raise RuleError(f"{key} is an object", path=key)
    return found


def _one_of(case: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = case.get(key)
    if not isinstance(value, str) or value not in known:
        given = "missing" if value is None else repr(value)
        raise RuleError(f"{key} is {given}", path=key, hint=_near(value, known))
    return value


def _names(case: Mapping[str, Any], key: str) -> frozenset[str] | None:
    value = case.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise RuleError(f"{key} is a list of paths", path=key)
    return frozenset(value)


def _near(word: Any, known: Any) -> str:
    names = [name for name in known if isinstance(name, str)] if isinstance(known, Mapping | tuple) else []
    close = difflib.get_close_matches(str(word), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}" if names else "there are none"
