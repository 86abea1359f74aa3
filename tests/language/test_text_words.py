"""How text becomes words."""

from __future__ import annotations

import sys

import pytest

from docdb.errors import IndexDefinitionError
from docdb.language import text_words
from docdb.language.text_words import LANGUAGES, NO_STEMMER, Token, fold, stemmer_here, words_of

ENGLISH = words_of("english", NO_STEMMER)
PLAIN = words_of("none", NO_STEMMER)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Hello, World", ["hello", "world"]),
        ("snake_case x-ray 3.14", ["snake_case", "x", "ray", "3", "14"]),
        ("a-b\tc\nd\u00a0e", ["a", "b", "c", "d", "e"]),
        ("Café CAFE\u0301", ["cafe", "cafe"]),
        ("ＦＵＬＬ width", ["full", "width"]),
        ("Привет, мир", ["привет", "мир"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("東京都", ["東京", "京都", "都"]),
        ("a東京b", ["a", "東京", "京", "b"]),
        ("한국어 글", ["한국", "국어", "어", "글"]),
        ("カタカナ", ["カタ", "タカ", "カナ", "ナ"]),
        ("", []),
        ("!?", []),
        ("İstanbul", ["istanbul"]),
    ],
)
def test_words(text, terms):
    assert PLAIN.terms(text) == terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The cat and the dog", ["cat", "dog"]),
        ("rock'n'roll 'quoted'", ["rock'n'roll", "quoted"]),
        ("don\u2019t DON'T", []),
        ("café\u2019s", ["cafe's"]),
        ("'", []),
    ],
)
def test_english_keeps_apostrophes_and_drops_stop_words(text, terms):
    assert ENGLISH.terms(text) == terms


def test_other_languages_split_at_apostrophes():
    assert words_of("french", NO_STEMMER).terms("l'avion d'hiver") == ["avion", "hiver"]


def test_a_stop_word_is_found_before_its_diacritics_go():
    assert words_of("spanish", NO_STEMMER).terms("él el más mas") == ["mas"]


def test_a_long_word_keeps_its_beginning_and_stays_itself():
    one, other = PLAIN.terms("x" * 500 + " " + "x" * 501)
    assert one != other
    assert {len(one.encode()), len(other.encode())} == {64}
    assert one.startswith("x" * 40)
    assert PLAIN.terms("x" * 500) == [one]
    assert len(PLAIN.terms("ж" * 300)[0].encode()) <= 64


@pytest.mark.parametrize(
    ("case", "diacritics", "tokens"),
    [
        (False, False, ["cafe", "noir"]),
        (True, False, ["Cafe", "Noir"]),
        (False, True, ["café", "noir"]),
        (True, True, ["Café", "Noir"]),
    ],
)
def test_sensitive_tokens(case, diacritics, tokens):
    assert PLAIN.tokens("Café Noir", case=case, diacritics=diacritics) == tokens


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("b a b", [(Token("b"),), (Token("a"),)]),
        ("東京都", [(Token("東京"), Token("京都"))]),
        ("東", [(Token("東", prefix=True),)]),
        ("京a", [(Token("京", prefix=True),), (Token("a"),)]),
    ],
)
def test_what_a_search_looks_for(text, groups):
    assert PLAIN.search(text) == groups


@pytest.mark.parametrize(
    ("case", "diacritics", "folded"),
    [
        (False, False, "elan vital"),
        (True, False, "Elan Vital"),
        (False, True, "élan vital"),
        (True, True, "Élan Vital"),
    ],
)
def test_folding(case, diacritics, folded):
    assert fold("Élan Vital", case=case, diacritics=diacritics) == folded


def test_the_words_met_before_are_bounded(monkeypatch):
    monkeypatch.setattr(text_words, "MOST_CACHED", 10)
    words = text_words.Words("none", None)
    assert [words.terms(f"w{n}") for n in range(100)] == [[f"w{n}"] for n in range(100)]
    assert len(words.term.__self__) <= 10


def test_each_language_has_words():
    assert {words_of(name, NO_STEMMER).terms("Qwerty")[0] for name in LANGUAGES.values()} == {"qwerty"}


def test_another_stemmer_than_the_index_was_made_with_is_refused():
    with pytest.raises(IndexDefinitionError, match="snowball 0.1"):
        words_of("english", "snowball 0.1")


def test_without_the_package_words_are_not_stemmed(monkeypatch):
    def missing(name):
        raise text_words.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(text_words.importlib.metadata, "version", missing)
    stemmer_here.cache_clear()
    try:
        assert stemmer_here() == NO_STEMMER
    finally:
        stemmer_here.cache_clear()
    assert words_of("english", NO_STEMMER).terms("baking") == ["baking"]


STEMMED = [
    ("english", "baking cakes", ["bake", "cake"]),
    ("german", "Häuser", ["haus"]),
    ("french", "continuellement", ["continuel"]),
    ("russian", "сырники", ["сырник"]),
    ("none", "baking", ["baking"]),
]


@pytest.mark.parametrize(("language", "text", "terms"), STEMMED, ids=[row[0] for row in STEMMED])
def test_stems(language, text, terms):
    pytest.importorskip("snowballstemmer")
    assert words_of(language, stemmer_here()).terms(text) == terms


def test_every_language_has_its_stemmer():
    pytest.importorskip("snowballstemmer")
    for name in set(LANGUAGES.values()):
        assert words_of(name, stemmer_here()).terms("qqq") != []


def test_another_packages_stemmer_is_not_taken(monkeypatch):
    pytest.importorskip("snowballstemmer")
    monkeypatch.setitem(sys.modules, "Stemmer", None)
    words_of.cache_clear()
    assert words_of("english", stemmer_here()).terms("running") == ["run"]
