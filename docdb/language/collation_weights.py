"""The weights of characters, and the keys of texts put together from them.

What lives here: ``Weights``, one per collation. What it must not know: options that are not parsed yet, values other
than text.

A text, canonically decomposed, becomes elements: (primary, secondary, tertiary, case, variable). Primary weights are
prefix-free byte strings whose first byte is the group: whitespace, punctuation and symbols of ASCII have one byte
each, so have the digits and the letters a to z; what comes right after such a letter begins with the byte behind it.
An accent is an element without a primary weight.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from docdb.language import collation_data as data

__all__ = ["Weights"]

_SEPARATOR: Final = b"\x01"
_COMMON: Final = 0x05
_UPPER, _COMPAT, _UPPER_COMPAT = 0x08, 0x06, 0x09
_KANA: Final = {"small hiragana": 0x0A, "hiragana": 0x0B, "small katakana": 0x0C, "katakana": 0x0D}
_UPPER_FIRST: Final = bytes.maketrans(bytes((_UPPER, _UPPER_COMPAT)), b"\x03\x04")

_ASCII: Final[dict[str, int]] = {}
_NEXT_GROUP: Final[dict[str, int]] = {}  # the byte that other characters of a group begin with


def _lay_out() -> None:
    at = 3
    for name, characters in (("space", data.WHITESPACE), ("punctuation", data.PUNCTUATION), ("symbol", data.SYMBOLS)):
        for character in characters:
            _ASCII[character] = at
            at += 1
        _NEXT_GROUP[name] = at
        at += 1
    for digit in "0123456789":
        _ASCII[digit] = at
        at += 1
    for name in ("number", "first"):
        _NEXT_GROUP[name] = at
        at += 1
    for letter in "abcdefghijklmnopqrstuvwxyz":
        _ASCII[letter] = _ASCII[letter.upper()] = at
        at += 2  # the byte behind a letter is for what comes right after it
    for name in ("greek", "cyrillic", "script", "han", "unassigned"):
        _NEXT_GROUP[name] = at
        at += 1


_lay_out()
_CONTROLS: Final = bytes(i for i in range(128) if chr(i) not in _ASCII)
_ASCII_PRIMARY: Final = bytes(_ASCII.get(chr(i), 0) for i in range(256))
_ASCII_TERTIARY: Final = bytes(_UPPER if 65 <= i <= 90 else _COMMON for i in range(256))
_SMALL_KANA: Final = dict(zip("ぁぃぅぇぉっゃゅょゎゕゖ", "あいうえおつやゆよわかけ", strict=True))
_VARIABLE_LIMIT: Final = {"space": _NEXT_GROUP["space"], "punct": _NEXT_GROUP["punctuation"]}
_STROKE: Final = bytes((0x06 + data.MARKS.index("\u0338"),))
_JOINED: Final = b"\x40"  # the accent of a letter that counts as two
_CACHED: Final = 4096


class Element(NamedTuple):
    """What one letter, sign, number or accent counts at each level."""

    primary: bytes
    secondary: bytes = bytes((_COMMON,))
    tertiary: int = _COMMON
    fourth: int = 0xFF

    @property
    def upper(self) -> bool:
        return self.tertiary in (_UPPER, _UPPER_COMPAT)


class Weights:
    """The keys of one collation. Thread-safe: the cache of characters only ever gains equal entries."""

    def __init__(self, spec: dict[str, Any], tailoring: str) -> None:
        self._strength: int = spec["strength"]
        self._case_level: bool = spec["caseLevel"]
        self._upper_first = spec["caseFirst"] == "upper"
        self._numeric: bool = spec["numericOrdering"]
        self._backwards: bool = spec["backwards"]
        self._limit = _VARIABLE_LIMIT[spec["maxVariable"]] if spec["alternate"] == "shifted" else -1
        self._posix = tailoring == "en_US_POSIX"
        self._kana_apart = tailoring == "ja"
        self._first = data.FIRST_SCRIPTS.get(tailoring, (1, 0))
        self._letters = _tailored(data.TAILORINGS.get(tailoring, ""))
        self._letters.update((decomposed(letter), None) for letter in data.UNSPLIT)
        self._starts = frozenset(letter[0] for letter in self._letters)
        self._longest = max(map(len, self._letters))
        self._plain = not (self._numeric or self._limit >= 0 or self._posix or any(s.isascii() for s in self._letters))
        self._known: dict[str, tuple[Element, ...]] = {}

    def key(self, text: str) -> bytes:
        """Return the key of a text."""
        if self._plain and text.isascii():
            return self._ascii_key(text)
        elements = list(self._elements(decomposed(text)))
        if self._limit >= 0:
            elements = self._shifted(elements)
        levels = [b"".join([e.primary for e in elements])]
        if self._strength >= 2:
            accents = [e.secondary for e in elements if e.secondary]
            levels.append(_short(b"".join(reversed(accents) if self._backwards else accents), _COMMON))
        if self._case_level:
            levels.append(self._case(bytes(_UPPER if e.upper else _COMMON for e in elements if e.primary)))
        if self._strength >= 3:
            levels.append(self._case(bytes(self._third(e) for e in elements if e.secondary)))
        if self._strength >= 4:
            levels.append(self._fourth(elements))
        if self._strength >= 5:
            levels.append(decomposed(text).encode())
        return _SEPARATOR.join(levels)

    def _ascii_key(self, text: str) -> bytes:
        # The road of most texts: two table look-ups in C instead of an element per character.
        raw = text.encode().translate(None, _CONTROLS)
        levels = [raw.translate(_ASCII_PRIMARY)]
        case = raw.translate(_ASCII_TERTIARY)
        if self._strength >= 2:
            levels.append(b"")
        if self._case_level:
            levels.append(self._case(case))
        if self._strength >= 3:
            levels.append(self._case(case))
        if self._strength >= 4:
            levels.append(b"\xff" * len(raw) if self._kana_apart else b"")
        if self._strength >= 5:
            levels.append(text.encode())
        return _SEPARATOR.join(levels)

    def _case(self, weights: bytes) -> bytes:
        return _short(weights.translate(_UPPER_FIRST), 0x03) if self._upper_first else _short(weights, _COMMON)

    def _third(self, element: Element) -> int:
        if self._kana_apart and element.tertiary >= _KANA["small hiragana"]:
            small = element.tertiary in (_KANA["small hiragana"], _KANA["small katakana"])
            return _KANA["small hiragana"] if small else _KANA["hiragana"]
        return element.tertiary

    def _fourth(self, elements: list[Element]) -> bytes:
        if self._kana_apart and self._limit < 0:
            katakana = (_KANA["small katakana"], _KANA["katakana"])
            return bytes(
                0xFF if e.tertiary in katakana or e.tertiary < _KANA["small hiragana"] else 0xFE for e in elements
            )
        return bytes(e.fourth for e in elements) if self._limit >= 0 else b""

    def _shifted(self, elements: list[Element]) -> list[Element]:
        """Return the elements with what ``shifted`` ignores left to the fourth level, its accents with it."""
        result = []
        ignored = False
        for element in elements:
            if element.primary:
                ignored = element.primary[0] <= self._limit
                result.append(Element(b"", b"", 0, element.primary[0]) if ignored else element)
            elif not ignored:
                result.append(element)
        return result

    def _elements(self, text: str) -> Iterator[Element]:
        if max(text, default="") >= "\u0e40":
            text = _logical_order(text)
        at = 0
        while at < len(text):
            character = text[at]
            if self._numeric and unicodedata.category(character) == "Nd":
                end = at
                while end < len(text) and unicodedata.category(text[end]) == "Nd":
                    end += 1
                yield from _number(text[at:end])
                at = end
                continue
            length = self._contraction(text, at) if character.lower() in self._starts else 0
            if length:
                yield from self._letter(text[at : at + length])
                at += length
                continue
            yield from self._known.get(character) or self._learn(character)
            at += 1

    def _contraction(self, text: str, at: int) -> int:
        """Return the length of the longest letter of several characters that stands here, 0 for none."""
        for length in range(min(self._longest, len(text) - at), 0, -1):
            if text[at : at + length].lower() in self._letters:
                return length
        return 0

    def _letter(self, written: str) -> Iterator[Element]:
        tertiary = _UPPER if written[0].lower() != written[0] else _COMMON
        placed = self._letters[written.lower()]
        if placed is not None:
            yield Element(placed[0], bytes((_COMMON,)), tertiary)
            if placed[1]:
                yield Element(b"", placed[1])
        else:
            letter = unicodedata.normalize("NFC", written)
            yield Element(self._script(letter.lower()), bytes((_COMMON,)), tertiary)

    def _learn(self, character: str) -> tuple[Element, ...]:
        elements = tuple(self._weigh(character))
        if self._posix and not character.isascii():
            elements = tuple(e._replace(primary=b"\x90" + e.primary) if e.primary else e for e in elements)
        if len(self._known) < _CACHED:
            self._known[character] = elements
        return elements

    def _weigh(self, character: str) -> Iterator[Element]:
        """Give the elements of one decomposed character."""
        if self._posix and character.isascii():
            yield Element(bytes((0x10 + ord(character),)))
            return
        category = unicodedata.category(character)
        if _ignorable(character, category):
            return
        if unicodedata.combining(character) or category == "Me":
            yield Element(b"", _accent(character))
            return
        if character in data.EXPANSIONS:
            pair = data.EXPANSIONS[character]
            yield self._plain_element(pair[0])
            yield Element(b"", _JOINED)
            yield self._plain_element(pair[1])
            return
        compatible = unicodedata.normalize("NFKD", character)
        if compatible != character:
            for part in compatible:
                yield from (_varied(element) for element in self._learn(part))
            return
        if category == "Nd":
            yield self._plain_element(str(unicodedata.digit(character)))
            if not character.isascii():
                yield Element(b"", b"\xf1" + (ord(character) - unicodedata.digit(character)).to_bytes(3, "big"))
            return
        lower = character.lower()
        if lower in data.STROKES:
            yield self._plain_element(data.STROKES[lower] if lower == character else data.STROKES[lower].upper())
            yield Element(b"", _STROKE)
            return
        yield self._plain_element(character)

    def _plain_element(self, character: str) -> Element:
        lower = character.lower()
        tertiary = _UPPER if lower != character else _COMMON
        if lower in _ASCII:
            return Element(bytes((_ASCII[lower],)), bytes((_COMMON,)), tertiary)
        if "\u3041" <= character <= "\u30f6":
            return self._kana(character)
        return Element(self._script(lower), bytes((_COMMON,)), tertiary)

    def _kana(self, character: str) -> Element:
        katakana = character >= "\u30a1"
        hiragana = chr(ord(character) - 0x60) if katakana else character
        large = _SMALL_KANA.get(hiragana, hiragana)
        name = ("small " if large != hiragana else "") + ("katakana" if katakana else "hiragana")
        return Element(self._script(large), bytes((_COMMON,)), _KANA[name])

    def _script(self, character: str) -> bytes:
        """Return the primary weight of a character outside ASCII, lower case."""
        code = ord(character)
        rank = data.CYRILLIC.find(character)
        tail = (rank if rank >= 0 else code).to_bytes(3, "big")
        if self._first[0] <= code <= self._first[1]:
            return bytes((_NEXT_GROUP["first"],)) + tail
        name = unicodedata.name(character, "")
        if name.startswith("LATIN "):
            return bytes((_ASCII[_base(character, name)] + 1, 0x80)) + tail
        return bytes((_NEXT_GROUP[_group(code, unicodedata.category(character))],)) + tail


def decomposed(text: str) -> str:
    """Return the canonical decomposition."""
    return text if text.isascii() else unicodedata.normalize("NFD", text)


def _tailored(rules: str) -> dict[str, tuple[bytes, bytes] | None]:
    """Return letter (decomposed) -> primary weight and accent, of a tailoring in the notation of ``collation_data``."""
    letters: dict[str, tuple[bytes, bytes] | None] = {}
    for word in rules.split():
        places = word.split("<")
        head = bytes(_ASCII[letter] for letter in places[0].partition("=")[0])
        base = head[-1]
        for place, group in enumerate(places):
            primary = bytes((base + 1, 0x10 + place)) if place else head
            for rank, letter in enumerate(group.split("=")):
                if place or rank:
                    letters[decomposed(letter)] = (primary, bytes((0x41 + rank,)) if rank else b"")
    return letters


def _short(weights: bytes, smallest: int) -> bytes:
    return weights.rstrip(bytes((smallest,)))


def _accent(character: str) -> bytes:
    rank = data.MARKS.find(character)
    return bytes((0x06 + rank,)) if rank >= 0 else b"\xf0" + ord(character).to_bytes(3, "big")


def _varied(element: Element) -> Element:
    changed = {_COMMON: _COMPAT, _UPPER: _UPPER_COMPAT}.get(element.tertiary, element.tertiary)
    return element._replace(tertiary=changed)


def _ignorable(character: str, category: str) -> bool:
    if category in ("Cc", "Cf", "Cs"):
        return character not in "\t\n\v\f\r\x85"
    return "\ufe00" <= character <= "\ufe0f"


def _number(digits: str) -> Iterator[Element]:
    """Give the elements of a run of digits by value: at most 254 digits each, without leading zeros (as ICU does)."""
    plain = "".join(str(unicodedata.digit(digit)) for digit in digits).lstrip("0") or "0"
    while plain:
        chunk, plain = plain[:254], plain[254:].lstrip("0")
        yield Element(bytes((_NEXT_GROUP["number"], len(chunk))) + chunk.encode())


def _logical_order(text: str) -> str:
    """Return the text with each Thai and Lao vowel written before its consonant put behind it."""
    characters = list(text)
    at = 0
    while at + 1 < len(characters):
        if "\u0e40" <= characters[at] <= "\u0e44" or "\u0ec0" <= characters[at] <= "\u0ec4":
            characters[at], characters[at + 1] = characters[at + 1], characters[at]
            at += 1
        at += 1
    return "".join(characters)


def _base(character: str, name: str) -> str:
    """Return the letter a to z that a Latin letter follows."""
    if character in data.AFTER:
        return data.AFTER[character]
    word = name.partition("LETTER ")[2].split(" ")[0].lower()
    return word if len(word) == 1 and word.isascii() and word.isalpha() else "z"


def _group(code: int, category: str) -> str:
    if category == "Cn" or category == "Co":
        return "unassigned"
    if category[0] == "Z" or code == 0x85:
        return "space"
    if category[0] in "PS":
        return "punctuation" if category[0] == "P" else "symbol"
    if 0x0370 <= code <= 0x03FF or 0x1F00 <= code <= 0x1FFF:
        return "greek"
    if 0x0400 <= code <= 0x052F:
        return "cyrillic"
    if 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF:
        return "han"
    return "script"
