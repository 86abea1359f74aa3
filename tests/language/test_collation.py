"""Collation: the order of words, what is equal at each strength, and what is refused."""

from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docdb.errors import NotSupportedError, QueryError
from docdb.language import collation_data
from docdb.language.collation import parse_collation
from docdb.language.order import order_key


def collation(locale="en", **options):
    return parse_collation({"locale": locale, **options})


ORDERED = {
    "case last": ({}, "a A á b"),
    "upper first": ({"caseFirst": "upper"}, "A a b"),
    "groups": ({}, "_ - , $ 1 2 a é Z α б あ 中"),
    "expansion": ({}, "s ss ß st"),
    "ligatures": ({}, "ad ae æ af"),
    "accents": ({"strength": 2}, "cote coté côte côté"),
    "backwards": ({"locale": "fr", "strength": 2, "backwards": True}, "cote côte coté côté"),
    "canadian": ({"locale": "fr_CA"}, "cote côte coté côté"),
    "case level": ({"strength": 1, "caseLevel": True}, "a A b B"),
    "digits": ({}, "1 10 2"),
    "numeric": ({"numericOrdering": True}, "1 1e2 1e10 2 010"),
    "numeric scripts": ({"numericOrdering": True}, "٢ ١٠"),
    "punctuation shifted": ({"strength": 4, "alternate": "shifted"}, "a_b a-b ab"),
    "swedish": ({"locale": "sv"}, "a z å ä ö"),
    "danish": ({"locale": "da"}, "Z z æ ø å"),
    "czech": ({"locale": "cs"}, "c č d h ch i"),
    "spanish": ({"locale": "es"}, "n nz ñ o"),
    "turkish": ({"locale": "tr"}, "h ı i"),
    "hungarian": ({"locale": "hu"}, "c cz cs d"),
    "phonebook": ({"locale": "de@collation=phonebook"}, "ad ä af"),
    "russian": ({"locale": "ru"}, "и й к z"),
    "cyrillic after latin": ({}, "z и й к"),
    "korean": ({"locale": "ko"}, "가 각 나 다"),
    "thai": ({"locale": "th"}, "กา เก ขา"),
    "posix": ({"locale": "en_US_POSIX"}, "A Z a é z"),
}


@pytest.mark.parametrize(("options", "words"), ORDERED.values(), ids=ORDERED.keys())
def test_order(options, words):
    order = words.split()
    reverse = order[::-1]
    key = collation(**options).key
    assert sorted(reverse, key=key) == order
    assert len({key(word) for word in order}) == len(order)


SAME = {
    "primary": ({"strength": 1}, "café CAFE cafe\u0301"),
    "secondary": ({"strength": 2}, "café CAFÉ cafe\u0301"),
    "normal forms": ({}, "é e\u0301"),
    "shifted": ({"alternate": "shifted"}, "ab a-b a_b a.b"),
    "ignorable": ({"strength": 4}, "ab a\u200bb a\ufeffb a\x00b"),
    "leading zeros": ({"numericOrdering": True}, "7 007 ٧"),
    "ligature": ({"strength": 1}, "fi ﬁ"),
    "ß": ({"strength": 1}, "straße strasse"),
    "case level": ({"strength": 1, "caseLevel": True}, "A Á"),
    "kana": ({"locale": "ja"}, "あ ア"),
    "jamo": ({"locale": "ko", "strength": 1}, "\uac00 \u1100\u1161"),
    "full width": ({"strength": 1}, "a ａ A"),
}


@pytest.mark.parametrize(("options", "words"), SAME.values(), ids=SAME.keys())
def test_equal(options, words):
    key = collation(**options).key
    assert len({key(word) for word in words.split(" ")}) == 1


APART = {
    "accent": ({"strength": 2}, "cafe café"),
    "case": ({}, "a A"),
    "full width": ({}, "a ａ"),
    "space": ({"alternate": "shifted", "maxVariable": "space"}, "ab a-b"),
    "symbols": ({"alternate": "shifted"}, "ab a$b a+b"),
    "identical": ({"strength": 5}, "7 007 a\u200bb ab"),
    "ß": ({"strength": 2}, "strasse straße"),
    "kana": ({"locale": "ja", "strength": 4}, "あ ア"),
    "swedish å": ({"locale": "sv", "strength": 1}, "a å ä"),
    "turkish ı": ({"locale": "tr", "strength": 1}, "i ı"),
}


@pytest.mark.parametrize(("options", "words"), APART.values(), ids=APART.keys())
def test_different(options, words):
    key = collation(**options).key
    assert len({key(word) for word in words.split(" ")}) == len(words.split(" "))


REFUSED = {
    "text": ("en", 14, "collation"),
    "no locale": ({"strength": 2}, 40414, "collation.locale"),
    "unknown locale": ({"locale": "xx_invalid"}, 2, "collation.locale"),
    "unknown variant": ({"locale": "de@collation=nonsense"}, 2, "collation.locale"),
    "locale type": ({"locale": 1}, 14, "collation.locale"),
    "strength": ({"locale": "en", "strength": 6}, 2, "collation.strength"),
    "strength type": ({"locale": "en", "strength": "2"}, 14, "collation.strength"),
    "choice": ({"locale": "en", "alternate": "x"}, 2, "collation.alternate"),
    "choice type": ({"locale": "en", "caseFirst": 1}, 14, "collation.caseFirst"),
    "flag type": ({"locale": "en", "caseLevel": 1}, 14, "collation.caseLevel"),
    "unknown option": ({"locale": "en", "strenght": 1}, 40415, "collation.strenght"),
    "case first of nothing": ({"locale": "en_US_POSIX", "caseFirst": "upper", "strength": 1}, 2, "collation.caseFirst"),
    "backwards of nothing": ({"locale": "en", "backwards": True, "strength": 1}, 2, "collation.backwards"),
}


@pytest.mark.parametrize(("spec", "code", "path"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(spec, code, path):
    with pytest.raises(QueryError) as caught:
        parse_collation(spec)
    assert (caught.value.code, caught.value.path) == (code, path)


@pytest.mark.parametrize(
    "spec", [None, {}, {"locale": "simple"}, {"locale": "simple", "strength": 1, "caseFirst": "upper"}]
)
def test_the_order_of_bytes(spec):
    assert parse_collation(spec) is None


def test_the_specification_is_complete():
    assert collation("da", strength=2.0, caseLevel=True, alternate=None).spec == {
        "locale": "da",
        "caseLevel": True,
        "caseFirst": "upper",
        "strength": 2,
        "numericOrdering": False,
        "alternate": "non-ignorable",
        "maxVariable": "punct",
        "normalization": False,
        "backwards": False,
        "version": "57.1",
    }


def test_equality_is_by_value():
    assert collation(strength=3) == collation()
    assert hash(collation(strength=3)) == hash(collation())
    assert collation(strength=2) != collation()
    assert parse_collation(collation().spec) == collation()


def test_a_locale_that_is_not_built_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "icu", None)
    with pytest.raises(NotSupportedError) as caught:
        collation("zh")
    assert caught.value.hint == "install docdb-engine[icu]"


def test_a_locale_from_icu(monkeypatch):
    class Names:
        def __getattr__(self, name):
            return name

    asked = {}
    collator = SimpleNamespace(setAttribute=asked.__setitem__, getSortKey=lambda text: text.encode())
    icu = SimpleNamespace(
        Collator=SimpleNamespace(createInstance=lambda locale: collator),
        Locale=str,
        UCollAttribute=Names(),
        UCollAttributeValue=Names(),
    )
    monkeypatch.setitem(sys.modules, "icu", icu)
    assert collation("zh", strength=2).key("x") == b"x"
    assert asked["STRENGTH"] == "SECONDARY"


def test_order_key_reaches_nested_text():
    en = collation(strength=2)
    assert en.order_key({"a": ["X", 1]}) == en.order_key({"a": ["x", 1.0]})
    assert en.order_key({"A": 1}) != en.order_key({"a": 1})
    assert en.order_key(5) == order_key(5)
    assert order_key(1) < en.order_key("") < en.order_key("a") < en.order_key({})


VARIETY = [
    {},
    {"strength": 1},
    {"strength": 1, "caseLevel": True},
    {"strength": 2, "backwards": True},
    {"strength": 4, "alternate": "shifted"},
    {"strength": 5, "caseFirst": "upper"},
    {"numericOrdering": True},
    {"locale": "ja", "strength": 4},
    {"locale": "cs"},
    {"locale": "en_US_POSIX"},
]
ALPHABET = "aAbcChzZ1290 -_$éÅßæøıñあアぁ가中ก\u0301\u0308\u200b\u3099ﬁⅡ²１ёйα\U0001f600\x00\x01"


@pytest.mark.parametrize("options", VARIETY, ids=str)
@given(words=st.lists(st.text(ALPHABET, max_size=6), min_size=3, max_size=3))
def test_strings_in_lists_sort_as_their_parts(options, words):
    # order_key joins keys without lengths: it must order lists as tuples of keys order, whatever the bytes in the keys.
    chosen = collation(**options)
    pairs = list(itertools.permutations(words, 2))
    joined = sorted(pairs, key=lambda pair: chosen.order_key(list(pair)))
    apart = sorted(pairs, key=lambda pair: tuple(chosen.key(word) for word in pair))
    assert [tuple(map(chosen.key, pair)) for pair in joined] == [tuple(map(chosen.key, pair)) for pair in apart]


@pytest.mark.parametrize("options", VARIETY, ids=str)
@given(left=st.text(ALPHABET, max_size=6), right=st.text(ALPHABET, max_size=6))
def test_a_lower_strength_only_merges(options, left, right):
    # Texts equal at a strength are equal at every lower one, and the lower one never contradicts the order.
    finer = {**options, "strength": 5}
    coarser = {**options, "strength": 3}
    fine, coarse = collation(**finer), collation(**coarser)
    low, high = sorted((left, right), key=fine.key)
    assert coarse.key(low) <= coarse.key(high)


def test_tables_are_sorted():
    for table in (collation_data.TAILORINGS, collation_data.FIRST_SCRIPTS, collation_data.DEFAULTS):
        assert list(table) == sorted(table)


@pytest.mark.parametrize("locale", sorted(collation_data.TAILORINGS))
def test_every_tailoring_compiles(locale):
    assert collation(locale).key("Çč") != collation(locale).key("c")
