"""Text becomes words: what an inverted index holds and a search looks for.

What lives here: ``Words`` (the words of one language), the names of the languages, and which stemmer is there. What it must not know: documents, indexes,
filters.

A word is a run of letters, digits, marks and underscores (in English with apostrophes inside). It is lowered, left out when it is a stop word, stemmed, and
loses its diacritics, in this order, as in MongoDB's text index version 3. Chinese, Japanese and Korean, which write no spaces, give
grams of two characters in any language; the last character of a run stands alone, so that one character finds every place it occurs at.

Stems come from the package ``snowballstemmer`` (the extra ``text``); without it words are not stemmed. Which of the two made an index is a part of its
definition (``STEMMERS``), because its entries must be made the same way for ever.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, NamedTuple

from docdb.errors import IndexDefinitionError
from docdb.language.text_data import MARKS, STOP_WORDS

__all__ = ["LANGUAGES", "NO_STEMMER", "Token", "Words", "fold", "language_of", "stemmer_here", "words_of"]

NO_STEMMER: Final = "none"
LONGEST: Final = 64  # bytes of a word; a longer one keeps its beginning and a digest
KEPT: Final = 40
MOST_CACHED: Final = 100_000

# MongoDB's languages and their ISO 639-1 codes.
LANGUAGES: Final[dict[str, str]] = {name: name for name in STOP_WORDS} | {
    "da": "danish", "de": "german", "en": "english", "es": "spanish", "fi": "finnish", "fr": "french", "hu": "hungarian", "it": "italian",
    "nb": "norwegian", "nl": "dutch", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sv": "swedish", "tr": "turkish",
}  # fmt: skip


def _class(ranges: str) -> str:
    """Return the inside of a character class from ranges of hexadecimal numbers."""
    return "".join("-".join(f"\\U{int(end, 16):08x}" for end in item.split("-")) for item in ranges.split())


_MARK: Final = _class(MARKS)
_CJK: Final = _class(
    "1100-11ff 3005-3007 3041-3096 309d-309f 30a1-30fa 30fc-30ff 3131-318e 31f0-31ff 3400-4dbf 4e00-9fff ac00-d7a3 f900-faff "
    "20000-323af"
)
# Marks that change how a letter sounds but not which it is; vowel signs of Indic scripts are no diacritics.
_DIACRITIC: Final = re.compile(
    f"[{_class('300-36f 483-487 591-5bd 5bf 5c1-5c2 5c4-5c5 5c7 610-61a 64b-65f 670 6d6-6dc 6df-6e4 1ab0-1aff 1dc0-1dff 20d0-20ff fe20-fe2f')}]"
)
_HAS_CJK: Final = re.compile(f"[{_CJK}]")
_ENGLISH: Final = re.compile(f"[\\w'{_MARK}]+")
_OTHER: Final = re.compile(f"[\\w{_MARK}]+")
_ENGLISH_CJK: Final = re.compile(f"([{_CJK}]+)|(?:(?![{_CJK}])[\\w'{_MARK}])+")
_OTHER_CJK: Final = re.compile(f"([{_CJK}]+)|(?:(?![{_CJK}])[\\w{_MARK}])+")
_ASCII_OTHER: Final = {at: " " for at in range(128) if not (chr(at).isalnum() or chr(at) == "_")}
_ASCII_ENGLISH: Final = {at: space for at, space in _ASCII_OTHER.items() if chr(at) != "'"}

Stem = Callable[[str], str]


class Token(NamedTuple):
    """What a search looks for: a word of the index, or (``prefix``) any that begins with this character."""

    text: str
    prefix: bool = False


def language_of(name: str) -> str | None:
    """Return the language of a name or code, None for one that is not known."""
    return LANGUAGES.get(name.lower())


@cache
def stemmer_here() -> str:
    """Return what stems words here: "snowball" with the package's version to the second number, or ``NO_STEMMER``."""
    try:
        version = importlib.metadata.version("snowballstemmer")
    except importlib.metadata.PackageNotFoundError:
        return NO_STEMMER
    return f"snowball {'.'.join(version.split('.')[:2])}"


def _stem_of(language: str, stemmer: str) -> Stem | None:
    if stemmer == NO_STEMMER or language == "none":
        return None
    if stemmer != stemmer_here():
        raise IndexDefinitionError(
            f"the text index was made with the stemmer {stemmer!r}, here is {stemmer_here()!r}",
            hint="install docdb-engine[text] with that snowballstemmer, or drop the index and create it again",
        )
    # The class itself, not snowballstemmer.stemmer(): that takes another package's stemmer where it finds one.
    module = importlib.import_module(f"snowballstemmer.{language}_stemmer")
    stem: Stem = getattr(module, f"{language.capitalize()}Stemmer")().stemWord
    return stem


@cache
def words_of(language: str, stemmer: str) -> Words:
    """Return the words of a language (a value of ``LANGUAGES``); IndexDefinitionError where its stemmer is not here."""
    return Words(language, _stem_of(language, stemmer))


def without_diacritics(text: str) -> str:
    """Return text without diacritics.

    >>> without_diacritics("café déjà")
    'cafe deja'
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _DIACRITIC.sub("", unicodedata.normalize("NFD", text)))


def fold(text: str, *, case: bool = False, diacritics: bool = False) -> str:
    """Return text as phrases are compared; ``case`` and ``diacritics`` keep these differences."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    text = text if case else text.lower()
    return text if diacritics else without_diacritics(text)


class _Terms(dict[str, str]):
    """The word of the index for each lowered word met, "" for a stop word: a text is mostly words met before."""

    def __init__(self, make: Callable[[str], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, word: str) -> str:
        if len(self) >= MOST_CACHED:
            self.clear()
        made = self[word] = self._make(word)
        return made


class Words:
    """The words of one language."""

    def __init__(self, language: str, stem: Stem | None) -> None:
        self.language = language
        self._stem = stem
        self._stop = STOP_WORDS[language]
        english = language == "english"
        self._table = _ASCII_ENGLISH if english else _ASCII_OTHER
        self._plain, self._mixed = (_ENGLISH, _ENGLISH_CJK) if english else (_OTHER, _OTHER_CJK)
        self.letters = bytes(at for at in range(128) if at not in self._table)  # of which ASCII words are made
        self.term = _Terms(self._term_of).__getitem__
        """The word of the index for a lowered one, "" for a stop word."""

    def terms(self, text: str) -> list[str]:
        """Return the words of a text as an index holds them, in order, repeated ones too.

        >>> words_of("english", "none").terms("The Café's open")
        ["cafe's", 'open']
        """
        if text.isascii():
            return list(filter(None, map(self.term, text.lower().translate(self._table).split())))
        text = _normal(text).lower()
        if _HAS_CJK.search(text) is None:
            return list(filter(None, map(self.term, self._plain.findall(text))))
        return [
            term for run, word in self._pieces(text) for term in (_grams(run) if run else [self.term(word)]) if term
        ]

    def tokens(self, text: str, *, case: bool, diacritics: bool) -> list[str]:
        """Return the words of a text as a sensitive search compares them."""
        if not case and not diacritics:
            return self.terms(text)
        found: list[str] = []
        for run, word in self._pieces(_normal(text)):
            found += _grams(run) if run else [self._token_of(word, case, diacritics)]
        return [token for token in found if token]

    def search(self, text: str, *, case: bool = False, diacritics: bool = False) -> list[tuple[Token, ...]]:
        """Return what the words of a search text look for, each once: one token, or the grams of a run that must all be there."""
        groups: dict[tuple[Token, ...], None] = {}
        for run, word in self._pieces(_normal(text)):
            if run:
                grams = tuple(Token(run[at : at + 2]) for at in range(len(run) - 1))
                groups[grams or (Token(run, prefix=True),)] = None
            elif token := self._token_of(word, case, diacritics):
                groups[(Token(token),)] = None
        return list(groups)

    def _pieces(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield (run of characters without spaces between words, "") or ("", word)."""
        for match in self._mixed.finditer(text):
            run = match[1]
            yield (run, "") if run else ("", match[0])

    def _term_of(self, word: str) -> str:
        return self._token_of(word, False, False)

    def _token_of(self, word: str, case: bool, diacritics: bool) -> str:
        word = word.strip("'")
        lowered = word.lower()
        if lowered in self._stop:
            return ""
        word = word if case else lowered
        if self._stem is not None:
            word = self._stem(word)
        return _cut(word if diacritics else without_diacritics(word))


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text).replace("\u2019", "'")


def _grams(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run))]


def _cut(word: str) -> str:
    if len(word) * 4 <= LONGEST:
        return word
    encoded = word.encode("utf-8", "surrogatepass")
    if len(encoded) <= LONGEST:
        return word
    return encoded[:KEPT].decode("utf-8", "ignore") + hashlib.blake2b(encoded, digest_size=12).hexdigest()
