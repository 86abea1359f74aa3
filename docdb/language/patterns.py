"""Regular expressions: from the PCRE that MongoDB speaks to Python's ``re``.

What lives here: ``compile_pattern``, ``literal_prefix``. What it must not know: where patterns come from or what they are matched
against.

The same in both: most of it, possessive quantifiers and atomic groups included. Rewritten here: ``\\z \\Z \\h \\H \\R
\\K \\N \\e \\Q..\\E \\x{..}``, POSIX classes, named groups, inline flags in the middle of a pattern (``re`` wants
them in front), and ``\\d \\w \\s \\b``, which are ASCII in PCRE unless ``(*UCP)`` stands in front. ``\\p{..}``
becomes a class made of ``unicodedata`` (general categories exactly; scripts by the characters' names, for the scripts
in the table). Recursion, ``\\X`` and ``\\G`` are refused as invalid.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from docdb.errors import QueryError

__all__ = ["compile_pattern", "literal_prefix"]

_FLAGS: Final = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
_BLANK: Final = r" \t\u00a0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000"
_OUTSIDE: Final[dict[str, str]] = {
    "B": r"(?a:\B)", "D": r"[^0-9]", "H": f"[^{_BLANK}]", "K": "", "N": r"[^\n]",
    "R": r"(?:\r\n|[\n\v\f\r\x85\u2028\u2029])", "S": r"[^ \t-\r]", "W": r"[^a-zA-Z0-9_]", "Z": r"(?=\n?\Z)",
    "b": r"(?a:\b)", "d": "[0-9]", "e": r"\x1b", "h": f"[{_BLANK}]", "s": r"[ \t-\r]", "w": "[a-zA-Z0-9_]", "z": r"\Z",
}  # fmt: skip
_INSIDE: Final[dict[str, str]] = {
    "D": r"\x00-/:-\U0010ffff", "N": "N", "S": r"\x00-\x08\x0e-\x1f!-\U0010ffff",
    "W": r"\x00-/:-@\[-\^`{-\U0010ffff", "d": "0-9", "e": r"\x1b", "h": _BLANK, "s": r" \t-\r", "w": "a-zA-Z0-9_",
}  # fmt: skip
_ENDS_TEXT: Final = frozenset(".^$*+?{}[]|()")
_MAKES_OPTIONAL: Final = frozenset("?*{")
_UNICODE: Final = frozenset("bBdDsSwW")
_POSIX: Final[dict[str, str]] = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "ascii": r"\x00-\x7f", "blank": r" \t", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r" \t-\r",
    "upper": "A-Z", "word": "a-zA-Z0-9_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_SCRIPTS: Final[dict[str, tuple[str, ...]]] = {
    "Arabic": ("ARABIC ",), "Armenian": ("ARMENIAN ",), "Bengali": ("BENGALI ",), "Cyrillic": ("CYRILLIC ",),
    "Devanagari": ("DEVANAGARI ",), "Georgian": ("GEORGIAN ",), "Greek": ("GREEK ",), "Hangul": ("HANGUL ",),
    "Han": ("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH", "CJK RADICAL ", "KANGXI RADICAL "),
    "Hebrew": ("HEBREW ",), "Hiragana": ("HIRAGANA ",), "Katakana": ("KATAKANA ",),
    "Latin": ("LATIN ", "FULLWIDTH LATIN "), "Tamil": ("TAMIL ",), "Thai": ("THAI ",),
}  # fmt: skip
_PROPERTY = re.compile(r"\{(\^?)([\w&]+)\}|([A-Z])")
_INLINE = re.compile(r"\(\?([imsx]*)(?:-([imsx]+))?\)")
_VERB = re.compile(r"\(\*(UTF8?|UCP)\)")
_SPECIAL = re.compile(r"[\\\[(|)#]")
_IN_CLASS_ESCAPED: Final = frozenset("[&|~")


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str, flags: str = "") -> re.Pattern[str]:
    """Return the compiled pattern; flags out of ``imsx`` (``u`` and ``l`` are accepted and change nothing).

    Raises QueryError (code 51091) for a pattern that is none, 51108 for an unknown flag.
    """
    number = 0
    for flag in flags:
        if flag not in "imsxul":
            raise QueryError(f"invalid flag in regex options: {flag}", code=51108, hint="the flags are i, m, s, x")
        number |= _FLAGS.get(flag, 0)
    try:
        return re.compile(_Translator(pattern, "x" in flags).run(), number)
    except (re.error, OverflowError, RecursionError) as error:
        raise QueryError(f"Regular expression is invalid: {error}", code=51091) from error


class _Translator:
    """One pass over the pattern; ``open_flags``: for each open group its inline flags, to close and reopen at ``|``."""

    def __init__(self, pattern: str, extended: bool) -> None:
        self.pattern = pattern
        self.extended = extended
        self.at = 0
        self.out: list[str] = []
        self.open_flags: list[list[str]] = [[]]
        self.unicode = False

    def run(self) -> str:
        while verb := _VERB.match(self.pattern, self.at):
            self.unicode |= verb[1] == "UCP"
            self.at = verb.end()
        while self.at < len(self.pattern):
            found = _SPECIAL.search(self.pattern, self.at)
            if found is None:
                self.out.append(self.pattern[self.at :])
                break
            self.out.append(self.pattern[self.at : found.start()])
            self.at = found.start()
            self._STEPS[found[0]](self)
        self.out.append(")" * len(self.open_flags[0]))
        return "".join(self.out)

    def take(self, count: int) -> str:
        text = self.pattern[self.at : self.at + count]
        self.at += count
        return text

    def escape(self) -> None:
        self.out.append(self.escaped(_OUTSIDE))

    def escaped(self, table: dict[str, str]) -> str:
        self.at += 1
        name = self.take(1)
        if name == "Q":
            end = self.pattern.find("\\E", self.at)
            text = self.pattern[self.at :] if end < 0 else self.pattern[self.at : end]
            self.at = len(self.pattern) if end < 0 else end + 2
            return re.escape(text)
        if name == "E":
            return ""
        if name in ("x", "k", "g"):
            return self.braced(name)
        if name in ("p", "P"):
            ranges = self.property(name == "P")
            return ranges if table is _INSIDE else f"[{ranges}]"
        if name == "c":
            return re.escape(chr(ord(self.take(1).upper() or "@") ^ 64))
        if self.unicode and name in _UNICODE:
            return "\\" + name
        return table.get(name, "\\" + name)

    def braced(self, name: str) -> str:
        """``\\x{1F600}``, ``\\xA``, ``\\k<name>``, ``\\g{1}``."""
        found = re.compile(r"[{<'](\w+)[}>']").match(self.pattern, self.at)
        if name == "x":
            found = found or re.compile(r"([0-9a-fA-F]{0,2})").match(self.pattern, self.at)
            assert found is not None  # the second form matches the empty text
            self.at = found.end()
            try:
                return re.escape(chr(int(found[1] or "0", 16)))
            except (ValueError, OverflowError):
                raise re.error("character code is too large or no number", self.pattern, self.at) from None
        if found is None and name == "g":
            found = re.compile(r"(\d+)").match(self.pattern, self.at)
        if found is None:
            return "\\" + name
        self.at = found.end()
        return f"(?:\\{found[1]})" if found[1].isdigit() else f"(?P={found[1]})"

    def property(self, negated: bool) -> str:
        """``\\p{Lu}``, ``\\pL``, ``\\P{Han}``, ``\\p{^L}`` as the ranges of a class."""
        found = _PROPERTY.match(self.pattern, self.at)
        if found is None:
            raise re.error("malformed \\\\p", self.pattern, self.at)
        self.at = found.end()
        try:
            return _property_ranges(found[2] or found[3], negated != bool(found[1]))
        except KeyError:
            raise re.error(f"unknown property {found[2] or found[3]}", self.pattern, found.start()) from None

    def group(self) -> None:
        inline = _INLINE.match(self.pattern, self.at)
        if inline is not None:
            self.at = inline.end()
            self.inline(inline[1], inline[2] or "")
        elif self.pattern.startswith("(?#", self.at):
            end = self.pattern.find(")", self.at)
            self.out.append(self.take((end if end >= 0 else len(self.pattern)) + 1 - self.at))
        else:
            self.open_flags.append([])
            named = re.compile(r"\(\?(?:<(?![=!])|')(\w+)[>']").match(self.pattern, self.at)
            if named is not None:
                self.at = named.end()
                self.out.append(f"(?P<{named[1]}>")
            else:
                self.out.append(self.take(1))

    def inline(self, on: str, off: str) -> None:
        if "x" in on or "x" in off:
            self.extended = "x" in on
        if on or off:
            self.open_flags[-1].append(f"(?{on}-{off}:" if off else f"(?{on}:")
            self.out.append(self.open_flags[-1][-1])

    def close(self) -> None:
        self.at += 1
        if len(self.open_flags) > 1:
            self.out.append(")" * len(self.open_flags.pop()))
        self.out.append(")")

    def alternative(self) -> None:
        self.at += 1
        flags = self.open_flags[-1]
        self.out.append(")" * len(flags) + "|" + "".join(flags))

    def comment(self) -> None:
        end = self.pattern.find("\n", self.at) + 1 if self.extended else self.at + 1
        self.out.append(self.take((end or len(self.pattern)) - self.at))

    def bracket(self) -> None:
        start = self.at
        self.out.append(self.take(2 if self.pattern.startswith("[^", self.at) else 1))
        if self.pattern.startswith("]", self.at):
            self.at += 1
            self.out.append("\\]")
        while (character := self.pattern[self.at : self.at + 1]) != "]":
            if not character:
                raise re.error("missing terminating ] for character class", self.pattern, start)
            self.out.append(self.class_item(character))
        self.out.append(self.take(1))

    def class_item(self, character: str) -> str:
        if character == "\\":
            return self.escaped(_INSIDE)
        if character == "[":
            named = re.compile(r"\[:(\^?)(\w+):\]").match(self.pattern, self.at)
            if named is not None:
                return self.posix(named)
        self.at += 1
        return "\\" + character if character in _IN_CLASS_ESCAPED else character

    def posix(self, named: re.Match[str]) -> str:
        self.at = named.end()
        ranges = _POSIX.get(named[2])
        if ranges is None:
            raise re.error(f"unknown POSIX class name {named[2]}", self.pattern, named.start())
        if not named[1]:
            return ranges
        inverse = [c for c in map(chr, range(128)) if not re.match(f"[{ranges}]", c)]
        return re.escape("".join(inverse)) + r"\x80-\U0010ffff"

    _STEPS: Final = {"\\": escape, "[": bracket, "(": group, ")": close, "|": alternative, "#": comment}


@lru_cache(maxsize=64)
def _property_ranges(name: str, negated: bool) -> str:
    """Return the characters with (or without) a property as ranges of a class: one pass over Unicode, once."""
    members = bytearray(_members(name))
    wanted = 0 if negated else 1
    ranges, start = [], members.find(wanted)
    while start >= 0:
        end = members.find(1 - wanted, start)
        end = len(members) if end < 0 else end
        ranges.append(f"\\U{start:08x}-\\U{end - 1:08x}")
        start = members.find(wanted, end)
    return "".join(ranges) or r"\ud800"


def _members(name: str) -> Iterator[bool]:
    """Tell of each code point whether it has the property; KeyError for a property that is not known."""
    every = map(chr, range(sys.maxunicode + 1))
    if name == "Any":
        return (True for _ in every)
    if name == "L&":
        return (unicodedata.category(character) in ("Lu", "Ll", "Lt") for character in every)
    if re.fullmatch("[CLMNPSZ][a-z]?", name):
        return (unicodedata.category(character).startswith(name) for character in every)
    prefixes = _SCRIPTS[name]
    return (unicodedata.name(character, "").startswith(prefixes) for character in every)


def literal_prefix(pattern: str, flags: str) -> tuple[str, bool]:
    """Return the text that every match begins with, and whether beginning with it is all the pattern asks.

    >>> literal_prefix("^ab+c", ""), literal_prefix("^a.b", ""), literal_prefix("^ab", "")
    (('ab', False), ('a', False), ('ab', True))
    """
    if not pattern.startswith("^") or set(flags) & set("imx") or "|" in pattern:
        return "", False
    text: list[str] = []
    at = 1
    while at < len(pattern):
        letter, step = pattern[at], 1
        if letter == "\\":
            letter, step = pattern[at + 1 : at + 2], 2
            if not letter or letter.isalnum():
                return "".join(text), False
        elif letter in _ENDS_TEXT:
            if letter in _MAKES_OPTIONAL and text:
                text.pop()
            return "".join(text), False
        text.append(letter)
        at += step
    return "".join(text), True
