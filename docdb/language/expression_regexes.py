"""$regexMatch, $regexFind, $regexFindAll.

What lives here: the three and the reading of their options. What it must not know: what a
pattern means (``patterns``, the same as in a filter).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language.expression_core import Constant, Maker, Scope, Term, fail, folded, is_nullish, named_terms
from docdb.language.linear_patterns import compile_linear, is_linear_only
from docdb.language.patterns import compile_pattern
from docdb.language.values import MISSING, Regex, type_name

__all__ = ["OPERATORS"]

_MAX_PATTERN: Final = 16384
_OPTIONS: Final = frozenset("imsxu")


@lru_cache(512)
def _compiled(pattern: str, options: str, linear: bool) -> re.Pattern[str]:
    for option in options:
        if option not in _OPTIONS:
            fail(f"unknown regular expression option {option!r}", 51108, hint="the options are i, m, s, x")
    if len(pattern.encode()) > _MAX_PATTERN:
        fail(f"a regular expression has at most {_MAX_PATTERN} bytes", 51111)
    try:
        compiled: re.Pattern[str] = (compile_linear if linear else compile_pattern)(pattern, options)
        return compiled
    except QueryError as error:
        raise QueryError(error.message, code=51111) from error


def _pattern(name: str, regex: Any, options: Any, linear: bool) -> re.Pattern[str] | None:
    """Return the compiled pattern, None when the regex is null."""
    if not is_nullish(regex) and type(regex) not in (str, Regex):
        fail(f"the regex of {name} is text or a regular expression, not {type_name(regex)}", 51105)
    if not is_nullish(options) and type(options) is not str:
        fail(f"the options of {name} are text, not {type_name(options)}", 51106)
    if type(regex) is Regex and regex.flags and options is not None and options is not MISSING:
        fail("options stand in the regular expression or beside it, not both", 51107)
    if type(regex) is str and "\0" in regex:
        fail("a regular expression may not contain NUL", 51109)
    if options and "\0" in options:
        fail("regular expression options may not contain NUL", 51110)
    text = regex.pattern if type(regex) is Regex else regex
    if is_nullish(text):
        return None
    return _compiled(text, options or (regex.flags if type(regex) is Regex else ""), linear)


def _found(match: re.Match[str]) -> dict[str, Any]:
    return {"match": match.group(), "idx": match.start(), "captures": list(match.groups())}


def _one(pattern: re.Pattern[str], text: str) -> Any:
    match = pattern.search(text)
    return None if match is None else _found(match)


def _all(pattern: re.Pattern[str], text: str) -> list[Any]:
    """Return every match. As in MongoDB the search ends where a match reaches the end of the text: no empty match follows there."""
    found: list[Any] = []
    for match in _matches(pattern, text):
        found.append(_found(match))
        if match.end() + (match.end() == match.start()) >= len(text):
            break
    return found


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    if not isinstance(pattern, re.Pattern):  # RE2's own steps are these; a search from a place costs it the whole text
        yield from pattern.finditer(text)
        return
    at = 0
    while match := pattern.search(text, at):
        yield match
        at = match.end() + (match.end() == match.start())


def _making(search: Any, nothing: Any) -> Maker:
    def make(scope: Scope, spec: Any, name: str) -> Term:
        if not isinstance(spec, dict):
            fail(f"{name} takes an object", 51103)
        terms = named_terms(scope, spec, name, {"input": 31022, "regex": 31023}, ("options",), 51103, 31024)
        options, linear = terms.get("options", Constant(None)), is_linear_only()

        def run(v: dict[str, Any]) -> Any:
            text = terms["input"](v)
            regex, flags = terms["regex"](v), options(v)
            if not is_nullish(regex) and type(regex) not in (str, Regex):
                fail(f"the regex of {name} is text or a regular expression, not {type_name(regex)}", 51105)
            pattern = _pattern(name, regex, flags, linear)
            if not is_nullish(text) and type(text) is not str:
                fail(f"the input of {name} is text, not {type_name(text)}", 51104)
            if pattern is None or is_nullish(text):
                return list(nothing) if type(nothing) is list else nothing
            return search(pattern, text)

        return folded(list(terms.values()), run)

    return make


OPERATORS: Final[dict[str, Maker]] = {
    "$regexFind": _making(_one, None),
    "$regexFindAll": _making(_all, []),
    "$regexMatch": _making(lambda pattern, text: pattern.search(text) is not None, False),
}
