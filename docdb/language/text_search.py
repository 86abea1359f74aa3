"""Text search over one document: the law that an index only makes fast.

What lives here: ``TextSpec`` (which text of a document counts, in which language, with which weight), ``Search`` (a search text,
understood), ``judge`` and ``scorer`` of a bound ``tree.Text``. What it must not know: how a filter is written (``text_filters``), entries, plans.

A word is found when the document has it; any one is enough. A "phrase" must be in a text as it stands, each phrase, and its words are
searched too. A -word or -"phrase" must not be there. The score of a word in a text of n words, where it stands k times, is
weight * (2 - 2 ** (1 - k)) * (k / 2n + 1/2), a tenth more where the word is the whole text; words and texts are summed. The rules are
MongoDB's; so is the formula, as far as it is publicly known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from docdb.cached import cached_property
from docdb.errors import DocumentError, QueryError
from docdb.language.text_words import Token, Words, fold, language_of, words_of
from docdb.language.tree import Text

__all__ = [
    "EVERY_FIELD",
    "FREQUENCY",
    "WHOLE_TEXT",
    "Search",
    "TextSpec",
    "judge",
    "parse_search",
    "scorer",
    "search_of",
]

EVERY_FIELD: Final = "$**"
WHOLE_TEXT: Final = 1.1  # the factor of a word that is the whole text
FREQUENCY: Final = tuple(2.0 - 2.0 ** (1 - count) for count in range(64))

Group = tuple[Token, ...]


@dataclass(slots=True)
class _Branch:
    """A field of the specification: its weight when it is a field itself, and the fields below."""

    weight: float | None = None
    below: dict[str, _Branch] = field(default_factory=dict)


@dataclass(frozen=True)
class TextSpec:
    """What a text index says of documents. ``weights`` are (dotted path or ``$**``, weight)."""

    weights: tuple[tuple[str, float], ...]
    default_language: str
    override: str
    stemmer: str

    @cached_property
    def _root(self) -> _Branch:
        root = _Branch()
        for path, weight in self.weights:
            branch = root
            for part in () if path == EVERY_FIELD else path.split("."):
                branch = branch.below.setdefault(part, _Branch())
            branch.weight = weight
        return root

    @cached_property
    def every_field(self) -> bool:
        """Whether every text of a document counts."""
        return self._root.weight is not None

    def branches(self) -> tuple[tuple[bytes, float | None, int, int], ...] | None:
        """Return the tree of fields as (name in UTF-8, weight, number of the first one below, number behind the last), the document first.

        None where all fields count.
        """
        if self.every_field:
            return None
        rows: list[tuple[bytes, float | None, int, int]] = []
        waiting: list[tuple[bytes, _Branch]] = [(b"", self._root)]
        for name, branch in waiting:  # which grows on the way: those below a field stand together
            first = len(waiting)
            waiting += [(below.encode("utf-8", "surrogatepass"), found) for below, found in branch.below.items()]
            rows.append((name, branch.weight, first, len(waiting)))
        return tuple(rows)

    def words(self, language: str | None = None) -> Words:
        """Return the words of a language, or of the default one."""
        return words_of(self.default_language if language is None else language, self.stemmer)

    def texts(self, document: Mapping[str, Any]) -> Iterator[tuple[str, float, str]]:
        """Yield (text, weight, language) of each text that counts. Raises DocumentError for a language that is none."""
        return self._object(document, self._root, self._root.weight, self.default_language)

    def scores(self, document: Mapping[str, Any]) -> dict[str, float]:
        """Return the words of a document with their scores."""
        found: dict[str, float] = {}
        for text, weight, language in self.texts(document):
            terms = self.words(language).terms(text)
            total = len(terms)
            for term, count in Counter(terms).items():
                score = weight * FREQUENCY[min(count, 63)] * (0.5 * count / total + 0.5)
                if total == 1 and term == text.lower():
                    score *= WHOLE_TEXT
                found[term] = found.get(term, 0.0) + score
        return found

    def _object(
        self, holder: Mapping[str, Any], branch: _Branch, inherited: float | None, language: str
    ) -> Iterator[tuple[str, float, str]]:
        given = holder.get(self.override)
        if given is not None:
            language = self._language(given)
        if inherited is None:
            for name, below in branch.below.items():
                if name in holder:
                    yield from self._value(holder[name], below, below.weight, None, language)
            return
        for name, value in holder.items():
            if name != self.override:
                known = branch.below.get(name, _NOWHERE)
                weight = inherited if known.weight is None else known.weight
                yield from self._value(value, known, weight, inherited, language)

    def _value(
        self, value: Any, branch: _Branch, weight: float | None, inherited: float | None, language: str
    ) -> Iterator[tuple[str, float, str]]:
        if isinstance(value, str):
            if weight is not None:
                yield value, weight, language
        elif isinstance(value, dict):
            yield from self._object(value, branch, inherited, language)
        elif isinstance(value, list):
            for item in value:
                yield from self._value(item, branch, weight, inherited, language)

    def _language(self, given: Any) -> str:
        if not isinstance(given, str):
            raise DocumentError("the language of a document is text", path=self.override, code=17261)
        language = language_of(given)
        if language is None:
            raise DocumentError(f"the language {given!r} is not known to text search", path=self.override, code=17262)
        return language


_NOWHERE: Final = _Branch()


@dataclass(frozen=True)
class Search:
    """A search text, understood. ``plain``: its groups are all there is to ask."""

    groups: tuple[Group, ...]
    exact_groups: tuple[Group, ...]  # the same words as a sensitive search compares them
    negated: tuple[Group, ...]
    phrases: tuple[str, ...]
    negated_phrases: tuple[str, ...]
    case: bool
    diacritics: bool

    @property
    def sensitive(self) -> bool:
        """Whether case or diacritics count."""
        return self.case or self.diacritics

    @property
    def plain(self) -> bool:
        """Whether a document with one of the groups matches."""
        return not (self.sensitive or self.negated or self.phrases or self.negated_phrases)


def parse_search(text: str, words: Words, *, case: bool = False, diacritics: bool = False) -> Search:
    """Return what a search text asks for."""
    wanted, unwanted, phrases, negated_phrases = _read(text)
    return Search(
        tuple(words.search(wanted)),
        tuple(words.search(wanted, case=case, diacritics=diacritics)),
        tuple(words.search(unwanted, case=case, diacritics=diacritics)),
        tuple(fold(phrase, case=case, diacritics=diacritics) for phrase in phrases),
        tuple(fold(phrase, case=case, diacritics=diacritics) for phrase in negated_phrases),
        case,
        diacritics,
    )


def _read(text: str) -> tuple[str, str, list[str], list[str]]:
    """Return the wanted and the unwanted words as texts, and the phrases and negated phrases as they stand.

    A hyphen behind a space negates up to the next space; inside a phrase it is a hyphen.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    phrases: tuple[list[str], list[str]] = ([], [])
    negated, quote = False, -1
    for at, letter in enumerate(text):
        behind_space = at == 0 or text[at - 1].isspace()
        if quote < 0 and behind_space and not letter.isspace():
            negated = letter == "-"
        if letter == '"':
            if quote >= 0 and at > quote + 1:
                phrases[negated].append(text[quote + 1 : at])
            quote = at if quote < 0 else -1
            letter = " "
        if not (negated and quote >= 0):
            sides[negated].append(" " if letter == "-" else letter)
        if letter.isspace():
            sides[not negated].append(" ")
    return "".join(sides[0]), "".join(sides[1]), phrases[0], phrases[1]


def search_of(node: Text) -> Search:
    """Return the search of a leaf that knows its index."""
    spec: TextSpec | None = node.spec
    if spec is None:
        raise QueryError("text index required for $text query", path="$text", hint=_HINT, code=27)
    return parse_search(node.search, spec.words(node.language), case=node.case, diacritics=node.diacritics)


_HINT: Final = 'create_index([("field", "text")])'


def judge(node: Text) -> Callable[[Any], bool]:
    """Return the function that tells whether a document matches; of a ``proved`` leaf only what an index cannot tell is asked."""
    search, spec = search_of(node), node.spec
    wanted = None if node.proved and not search.sensitive else search.exact_groups
    asks_words = wanted is not None or bool(search.negated)

    def matches(document: Any) -> bool:
        texts = [(text, language) for text, _, language in spec.texts(document)]
        if asks_words:
            found = {
                token
                for text, language in texts
                for token in spec.words(language).tokens(text, case=search.case, diacritics=search.diacritics)
            }
            if wanted is not None and not any(_holds(found, group) for group in wanted):
                return False
            if any(_holds(found, group) for group in search.negated):
                return False
        return _phrases_match(search, [text for text, _ in texts])

    return matches


def _holds(found: set[str], group: Group) -> bool:
    return all(
        any(token.startswith(wanted.text) for token in found) if wanted.prefix else wanted.text in found
        for wanted in group
    )


def _phrases_match(search: Search, texts: list[str]) -> bool:
    if not search.phrases and not search.negated_phrases:
        return True
    folded = [fold(text, case=search.case, diacritics=search.diacritics) for text in texts]
    return all(any(phrase in text for text in folded) for phrase in search.phrases) and not any(
        phrase in text for phrase in search.negated_phrases for text in folded
    )


def scorer(node: Text) -> Callable[[Mapping[str, Any]], float]:
    """Return the function from a document to its score, 0 where no word is found."""
    search, spec = search_of(node), node.spec

    def score(document: Mapping[str, Any]) -> float:
        scores = spec.scores(document)
        found = set(scores)
        total = 0.0
        for group in search.groups:
            if _holds(found, group):
                for wanted in group:
                    total += _score(scores, wanted)
        return total

    return score


def _score(scores: Mapping[str, float], wanted: Token) -> float:
    if not wanted.prefix:
        return scores[wanted.text]
    return sum(score for term, score in scores.items() if term.startswith(wanted.text))
