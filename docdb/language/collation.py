"""Collation: text in the order of people instead of the order of bytes.

What lives here: ``parse_collation`` and ``Collation``. What it must not know: filters, indexes, collections. The
tables are in ``collation_data``, the weights of characters in ``collation_weights``.

The built-in order follows the CLDR root collation (whitespace, punctuation, symbols, digits, Latin, Greek, Cyrillic,
other scripts by code point) and the tailorings in the table; a locale that needs more is taken from PyICU where it is
installed and refused otherwise. One locale always takes the same road, so that keys in an index stay comparable.

A key is levels joined by 01: primary (letters), secondary (accents), case (``caseLevel``), tertiary (case and
variants), quaternary (what ``shifted`` ignored, kana), identical (the decomposed text). A level ends early when only
its smallest weight is left.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Final

from docdb.errors import NotSupportedError, QueryError
from docdb.language import collation_data as data
from docdb.language import values
from docdb.language.collation_weights import Weights
from docdb.language.order import order_key, string_body
from docdb.language.values import is_number

__all__ = ["Collation", "parse_collation"]

_LOCALE = re.compile(r"([a-z]{2,3})(?:_([A-Z][a-z]{3}))?(?:_([A-Z]{2}|[0-9]{3}))?(?:@collation=([a-z0-9]+))?\Z")
_DEFAULTS: Final[dict[str, Any]] = {
    "caseLevel": False,
    "caseFirst": "off",
    "strength": 3,
    "numericOrdering": False,
    "alternate": "non-ignorable",
    "maxVariable": "punct",
    "normalization": False,
    "backwards": False,
}
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "alternate": ("non-ignorable", "shifted"),
    "caseFirst": ("lower", "off", "upper"),
    "maxVariable": ("punct", "space"),
}
_FLAGS: Final = ("backwards", "caseLevel", "normalization", "numericOrdering")
_VERSION: Final = "57.1"


class Collation:
    """An order of text; equal to another one with the same options."""

    __slots__ = ("_hash", "_source", "spec")

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self._source = _source(spec)
        self._hash = hash(tuple(sorted(spec.items())))

    def key(self, text: str) -> bytes:
        """Return bytes whose order is the order of the texts, equal for equal texts. Cost: one pass over the text."""
        return self._source(text)  # type: ignore[no-any-return]

    def order_key(self, value: Any) -> bytes:
        """Return the ordered bytes of a canonical value, text at any depth by this collation."""
        kind = type(value)
        if kind is str:
            return b"\x30" + self._body(value)
        if kind is list:
            return b"\x50" + b"".join([self.order_key(item) for item in value]) + b"\0"
        if kind is dict:
            return self._object_key(value)
        return order_key(value)

    def _body(self, text: str) -> bytes:
        return self.key(text).replace(b"\0", b"\0\xff") + b"\0"

    def _object_key(self, value: dict[str, Any]) -> bytes:
        parts = [b"\x40"]
        for name, item in value.items():
            key = self.order_key(item)
            parts += (key[:1], string_body(name), key)
        parts.append(b"\0")
        return b"".join(parts)

    def __eq__(self, other: object) -> bool:
        return self.spec == other.spec if isinstance(other, Collation) else NotImplemented

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Collation({self.spec!r})"


def parse_collation(spec: Any) -> Collation | None:
    """Return the collation of a document of options; None (the order of bytes) for None, ``{}`` and locale ``simple``.

    Raises QueryError with MongoDB's codes: 14 for what is no document, 40414 without a locale, 40415 for an unknown
    option, 2 for a bad value.

    >>> collation = parse_collation({"locale": "en", "strength": 2})
    >>> collation.key("Ann") == collation.key("ANN")
    True
    """
    if spec is None or isinstance(spec, Collation):
        return spec
    if not isinstance(spec, Mapping):
        raise QueryError(f"a collation is a document, not {type(spec).__name__}", path="collation", code=14)
    if not spec:
        return None
    options = {name: values.canonical(value, f"collation.{name}") for name, value in spec.items()}
    if options.get("locale") is None:
        raise QueryError("a collation needs a locale", path="collation.locale", code=40414)
    locale = options.pop("locale")
    if not isinstance(locale, str):
        raise QueryError("a locale is text", path="collation.locale", code=14)
    given = {name: _option(name, value) for name, value in options.items() if value is not None}
    given.pop("version", None)
    if locale == "simple":
        return None
    _check_locale(locale)
    full = {
        "locale": locale,
        **_DEFAULTS,
        **data.DEFAULTS.get(locale.partition("@")[0], {}),
        **given,
        "version": _VERSION,
    }
    _check_together({**_DEFAULTS, **given})
    return Collation(full)


def _option(name: str, value: Any) -> Any:
    path = f"collation.{name}"
    if name in _FLAGS:
        return _checked(value, isinstance(value, bool), "true or false", path, 14)
    if name in _CHOICES:
        _checked(value, isinstance(value, str), "text", path, 14)
        return _checked(value, value in _CHOICES[name], " or ".join(_CHOICES[name]), path, 2)
    if name == "strength":
        _checked(value, is_number(value), "a number", path, 14)
        return int(_checked(value, value in (1, 2, 3, 4, 5), "1 to 5", path, 2))
    if name == "version":
        return value
    near = difflib.get_close_matches(name, ["locale", "strength", *_FLAGS, *_CHOICES], n=1)
    hint = f"did you mean {near[0]}?" if near else None
    raise QueryError(f"unknown collation option {name}", path=path, hint=hint, code=40415)


def _checked(value: Any, good: bool, wanted: str, path: str, code: int) -> Any:
    if not good:
        raise QueryError(f"{path.rpartition('.')[2]} takes {wanted}, not {value!r}", path=path, code=code)
    return value


def _check_locale(locale: str) -> None:
    parts = _LOCALE.match(locale)
    if locale != "en_US_POSIX" and (
        parts is None
        or parts[1] not in data.KNOWN_LANGUAGES
        or (parts[4] is not None and parts[4] not in data.VARIANTS)
    ):
        raise QueryError(
            f"unknown locale {locale!r}", path="collation.locale", hint="a language, as in en, de, sv, fr_CA"
        )


def _check_together(spec: dict[str, Any]) -> None:
    if spec["caseFirst"] != "off" and not spec["caseLevel"] and spec["strength"] < 3:
        raise QueryError("caseFirst needs caseLevel, or a strength above 2", path="collation.caseFirst")
    if spec["backwards"] and spec["strength"] == 1:
        raise QueryError("backwards needs a strength above 1", path="collation.backwards")


def _source(spec: dict[str, Any]) -> Any:
    """Return the function from text to key: built in, or PyICU's where the locale needs it."""
    locale = spec["locale"]
    tailoring = _tailoring(locale)
    if tailoring is not None:
        return Weights(spec, tailoring).key
    try:
        import icu  # type: ignore[import-not-found]
    except ImportError as error:
        raise NotSupportedError(
            f"the order of the locale {locale!r} is not built in",
            path="collation.locale",
            hint="install docdb-engine[icu]",
        ) from error
    return _icu_key(icu, spec)


def _tailoring(locale: str) -> str | None:
    """Return the tailoring's name in the tables, "" for the root order, None when PyICU is needed."""
    if locale == "en_US_POSIX":
        return locale
    parts = _LOCALE.match(locale)
    language, script, variant = (parts[1], parts[2], parts[4]) if parts else (locale, None, None)
    written = f"{language}_{script}" if script else language
    if variant == "unihan" or variant == "ducet":
        return ""
    if variant is not None and variant not in ("search", "standard"):
        named = f"{language}@collation={variant}"
        return named if named in data.TAILORINGS else None
    return None if written in data.NEEDS_ICU else written if written in data.TAILORINGS else language


def _icu_key(icu: Any, spec: dict[str, Any]) -> Any:
    # maxVariable has no attribute of its own in PyICU; it travels as a keyword of the locale.
    joint = ";" if "@" in spec["locale"] else "@"
    collator = icu.Collator.createInstance(icu.Locale(f"{spec['locale']}{joint}kv={spec['maxVariable']}"))
    attribute, on = icu.UCollAttribute, icu.UCollAttributeValue
    flag = {True: on.ON, False: on.OFF}
    strengths = (on.PRIMARY, on.SECONDARY, on.TERTIARY, on.QUATERNARY, on.IDENTICAL)
    case_first = {"lower": on.LOWER_FIRST, "off": on.OFF, "upper": on.UPPER_FIRST}
    collator.setAttribute(attribute.STRENGTH, strengths[spec["strength"] - 1])
    collator.setAttribute(attribute.CASE_LEVEL, flag[spec["caseLevel"]])
    collator.setAttribute(attribute.CASE_FIRST, case_first[spec["caseFirst"]])
    collator.setAttribute(attribute.NUMERIC_COLLATION, flag[spec["numericOrdering"]])
    collator.setAttribute(
        attribute.ALTERNATE_HANDLING, on.SHIFTED if spec["alternate"] == "shifted" else on.NON_IGNORABLE
    )
    collator.setAttribute(attribute.NORMALIZATION_MODE, flag[spec["normalization"]])
    collator.setAttribute(attribute.FRENCH_COLLATION, flag[spec["backwards"]])
    return lambda text: collator.getSortKey(text)
