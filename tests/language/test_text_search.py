"""The law of text search over one document: what is searched, what matches, the score."""

from __future__ import annotations

import pytest

from docdb.errors import DocumentError, QueryError
from docdb.language.filters import parse
from docdb.language.matching import matcher
from docdb.language.text_search import TextSpec, judge, parse_search, scorer
from docdb.language.text_words import NO_STEMMER, words_of
from docdb.language.tree import Text

BODY = TextSpec((("body", 1.0),), "none", "language", NO_STEMMER)


def matches(search, text, **options):
    return judge(Text(search, spec=BODY, **options))({"body": text})


@pytest.mark.parametrize(
    ("search", "text", "expected"),
    [
        ("coffee", "a Coffee shop", True),
        ("coffee tea", "tea only", True),
        ("coffee", "coffees", False),
        ('"coffee shop"', "the coffee shop", True),
        ('"coffee shop"', "shop for coffee", False),
        ('"offee sho"', "the coffee shop", False),  # no word of it is there
        ('coffee "offee sho"', "the coffee shop", True),  # a phrase is looked for in the text as it stands
        ('"coffee" "tea"', "coffee and tea", True),
        ('"coffee" "tea"', "coffee", False),
        ("coffee -shop", "coffee shop", False),
        ("coffee -shop", "coffee bar", True),
        ("coffee -shop bar", "bar", True),
        ("pre-market", "market", True),  # a hyphen inside a word parts it
        ("coffee -a-b", "coffee b", False),
        ('coffee -"coffee shop"', "coffee shop", False),
        ('coffee -"coffee shop"', "shop coffee", True),
        ('coffee "open', "open", True),  # a quote that is not closed is none
        ("-coffee", "tea", False),
        ("", "tea", False),
        ("東京", "東京都", True),
        ("京都", "東京", False),
        ("東京都", "東京 京都", True),
        ("東京都", "東京", False),
        ("都", "東京都", True),
        ("coffee -都", "coffee 東京都", False),
    ],
)
def test_matches(search, text, expected):
    assert matches(search, text) is expected


@pytest.mark.parametrize(
    ("search", "text", "options", "expected"),
    [
        ("Coffee", "Coffee", {"case": True}, True),
        ("Coffee", "coffee", {"case": True}, False),
        ("café", "cafe", {}, True),
        ("café", "cafe", {"diacritics": True}, False),
        ("CAFÉ", "café", {"diacritics": True}, True),
        ('Big "Red Car"', "Big Red Car", {"case": True}, True),
        ('Big "Red Car"', "Big red car", {"case": True}, False),
        ("big -Red", "big red", {"case": True}, True),
    ],
)
def test_sensitive_searches(search, text, options, expected):
    assert matches(search, text, **options) is expected


@pytest.mark.parametrize(
    ("weights", "document", "found"),
    [
        ((("a", 2.0), ("b.c", 1.0)), {"a": "x", "b": {"c": "y", "d": "z"}}, [("x", 2.0), ("y", 1.0)]),
        ((("a.b", 1.0),), {"a": [{"b": "x"}, {"b": ["y", 1, ["z"]]}, "w"]}, [("x", 1.0), ("y", 1.0), ("z", 1.0)]),
        ((("$**", 1.0), ("b", 5.0)), {"a": "x", "b": "y", "c": [{"d": "z"}]}, [("x", 1.0), ("y", 5.0), ("z", 1.0)]),
        ((("$**", 1.0),), {"language": "fr", "a": "x"}, [("x", 1.0)]),
        ((("a", 1.0), ("a.b", 3.0)), {"a": {"b": "y"}}, [("y", 3.0)]),
        ((("a", 1.0),), {"a": 5}, []),
        ((("a", 1.0),), {}, []),
    ],
    ids=["paths", "arrays", "every field", "not the language", "a field and one below", "no text", "missing"],
)
def test_what_counts_as_text(weights, document, found):
    spec = TextSpec(weights, "none", "language", NO_STEMMER)
    assert [(text, weight) for text, weight, _ in spec.texts(document)] == found


def test_a_document_and_its_parts_name_their_language():
    spec = TextSpec((("a", 1.0), ("parts.a", 1.0)), "english", "lang", NO_STEMMER)
    document = {"a": "x", "lang": "fr", "parts": [{"a": "y", "lang": "german"}, {"a": "z"}]}
    assert [(text, language) for text, _, language in spec.texts(document)] == [
        ("x", "french"), ("y", "german"), ("z", "french"),
    ]  # fmt: skip


@pytest.mark.parametrize(("language", "code"), [("klingon", 17262), (5, 17261)])
def test_a_language_that_is_none_is_refused(language, code):
    with pytest.raises(DocumentError) as caught:
        list(BODY.texts({"body": "x", "language": language}))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("coffee", {"coffee": 1.1}),
        ("coffee shopping", {"coffee": 0.75, "shopping": 0.75}),
        ("a a b", {"a": 1.5 * (0.5 * 2 / 3 + 0.5), "b": 0.5 / 3 + 0.5}),
        ("Coffee!", {"coffee": 1.0}),
        ("", {}),
    ],
)
def test_scores(text, scores):
    assert BODY.scores({"body": text}) == pytest.approx(scores)


def test_scores_of_several_texts_are_summed_by_weight():
    spec = TextSpec((("title", 10.0), ("body", 1.0)), "none", "language", NO_STEMMER)
    score = scorer(Text("tea pot", spec=spec))
    assert score({"title": "tea", "body": "tea pot"}) == pytest.approx(10 * 1.1 + 0.75 + 0.75)
    assert score({"title": "milk"}) == 0


def test_all_grams_of_a_run_count_or_none():
    score = scorer(Text("東京都", spec=BODY))
    assert score({"body": "東京"}) == 0
    assert score({"body": "東京都"}) == pytest.approx(2 * (0.5 / 3 + 0.5))


def test_a_search_says_whether_an_index_answers_it():
    words = words_of("none", NO_STEMMER)
    assert parse_search("a b", words).plain
    assert not any(parse_search(text, words).plain for text in ('"a b"', "a -b", 'a -"b c"'))
    assert not parse_search("a", words, case=True).plain


@pytest.mark.parametrize(
    ("filter", "code", "path"),
    [
        ({"$text": "a"}, 2, "$text"),
        ({"$text": {}}, 4, "$text"),
        ({"$text": {"$search": 1}}, 14, "$text.$search"),
        ({"$text": {"$search": "a", "$language": 1}}, 14, "$text.$language"),
        ({"$text": {"$search": "a", "$language": "klingon"}}, 2, "$text.$language"),
        ({"$text": {"$search": "a", "$caseSensitive": 1}}, 14, "$text.$caseSensitive"),
        ({"$text": {"$search": "a", "$more": 1}}, 2, "$text.$more"),
        ({"$nor": [{"$text": {"$search": "a"}}]}, 2, "$nor.0.$text"),
        ({"a": {"$elemMatch": {"$text": {"$search": "a"}}}}, 2, "a.$elemMatch.$text"),
    ],
    ids=str,
)
def test_a_wrong_search_is_refused(filter, code, path):
    with pytest.raises(QueryError) as caught:
        parse(filter)
    assert (caught.value.code, caught.value.path) == (code, path)


def test_where_no_search_may_stand():
    with pytest.raises(QueryError):
        parse({"$text": {"$search": "a"}}, text=False)


def test_a_search_without_an_index_is_refused():
    with pytest.raises(QueryError) as caught:
        matcher(parse({"$text": {"$search": "a"}}))
    assert caught.value.code == 27
