"""Patterns that users send: RE2 alone, wherever they stand."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docdb.errors import DocdbError, QueryError
from docdb.language.expressions import compile_expression
from docdb.language.filters import parse
from docdb.language.linear_patterns import MAX_LENGTH, compile_linear, is_linear_only, linear_only
from docdb.language.matching import matcher
from docdb.language.programs import compile_program
from docdb.language.projection import parse_projection
from docdb.language.tree import Pattern
from docdb.language.updates import parse_update
from docdb.language.values import Regex
from docdb.store import codec

pytest.importorskip("re2")

CATASTROPHIC = ["(a+)+$", "(a|aa)+$", "([a-zA-Z]+)*$", "(a|a?)+$", "(.*a){20}$", "(x+x+)+y", "^(a+)+b$", r"^(\w+\s?)*$"]
LONG = "a" * 50_000 + "!"


def filters(pattern):
    """Every place of a filter where a pattern may stand; all match what is found in ``t``."""
    regex = Regex(pattern, "")
    return [
        {"t": {"$regex": pattern}},
        {"t": regex},
        {"t": {"$in": [regex]}},
        {"t": {"$all": [regex]}},
        {"$nor": [{"t": {"$not": regex}}]},
        {"$nor": [{"t": {"$nin": [regex]}}]},
        {"l": {"$elemMatch": {"$regex": pattern}}},
        {"o": {"$elemMatch": {"t": regex}}},
        {"$expr": {"$regexMatch": {"input": "$t", "regex": pattern}}},
        {"$expr": {"$ne": [{"$regexFind": {"input": "$t", "regex": "$p"}}, None]}},
        {"$expr": {"$ne": [{"$regexFindAll": {"input": "$t", "regex": {"$literal": regex}}}, []]}},
        {"$jsonSchema": {"properties": {"t": {"pattern": pattern}}}},
        {"$jsonSchema": {"not": {"patternProperties": {pattern: {"type": "null"}}, "additionalProperties": True}}},
    ]


def about(text, pattern):
    return {"t": text, "l": [text], "o": [{"t": text}], "p": pattern, text: 1}


@pytest.mark.parametrize("pattern", CATASTROPHIC)
def test_the_time_is_linear_wherever_a_pattern_stands(pattern):
    with linear_only():
        tests = [matcher(parse(filter)) for filter in filters(pattern)]
    found = compile_linear(pattern).search(LONG) is not None
    *answers, names = [test(about(LONG, pattern)) for test in tests]
    assert answers == [found] * len(answers)
    assert isinstance(names, bool)  # asked of the short names as well


def test_the_choice_is_made_where_a_pattern_is_read():
    assert not is_linear_only()
    with linear_only():
        assert parse({"t": {"$regex": "a.c"}}) == Pattern(("t",), "a.c", "", linear=True)
        with linear_only():
            pass
        assert is_linear_only()
    assert parse({"t": {"$regex": "a.c"}}) == Pattern(("t",), "a.c", "")


def test_updates_and_projections_read_patterns_so_too():
    regex = Regex("(a+)+$", "")
    with linear_only():
        pull = parse_update({"$pull": {"l": regex}})
        pulls = parse_update({"$pull": {"o": {"t": regex}}})
        filtered = parse_update({"$set": {"l.$[x]": "b"}}, array_filters=[{"x": regex}])
        shown = parse_projection({"l": {"$elemMatch": {"$regex": "(a+)+$"}}})
    document = about(LONG, "")
    for update in (pull, pulls, filtered):
        assert update.apply(document, now=None) is document
    assert "l" not in shown.apply(document)


@pytest.mark.parametrize(
    "pattern",
    [r"(a)\1", "(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", "a++", "(?>a)", r"\Z", r"\K", r"\C", r"\\\C", "(", "a" * (MAX_LENGTH + 1),
     "((a{100}){100}){100}", r"\pL{999}", "(?x)a", "(?R)"],
    ids=lambda pattern: pattern[:20],
)  # fmt: skip
def test_what_is_not_linear_is_refused(pattern):
    for filter in filters(pattern)[:8]:
        with linear_only(), pytest.raises(QueryError, match="Regular expression is invalid") as caught:
            parse(filter)
        assert caught.value.hint
    with linear_only():
        computed = compile_expression({"$regexMatch": {"input": "$t", "regex": "$p"}})
    with pytest.raises(QueryError, match="Regular expression is invalid"):
        computed({"t": "a", "p": pattern})


def test_the_place_of_a_bad_pattern_is_named():
    with linear_only(), pytest.raises(QueryError) as caught:
        parse({"$or": [{"t": {"$regex": "(?=a)"}}]})
    assert (caught.value.path, caught.value.code) == ("$or.0.t.$regex", 51091)


def test_flags_and_quoted_text():
    assert compile_linear("A.B", "is").search("xa\nb")
    assert compile_linear("^b", "m").search("a\nb")
    assert compile_linear(r"\QC:\C\E", "").search(r"C:\C")
    assert compile_linear("a", "uli").search("A")
    with pytest.raises(QueryError, match="flags i, m and s"):
        compile_linear("a", "x")


def test_without_the_package_patterns_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "re2", None)
    compile_linear.cache_clear()
    with linear_only(), pytest.raises(QueryError, match="need google-re2") as caught:
        parse({"t": {"$regex": "never asked before"}})
    assert "docdb-engine[re2]" in (caught.value.hint or "")
    parse({"t": {"$regex": "never asked before"}})


plain = st.text(alphabet="ab.*+?|()[]^$\\dw{}1,é", max_size=8)


@settings(max_examples=300, deadline=None)
@given(plain, st.lists(st.text(alphabet="ab1é\n", max_size=6), min_size=1, max_size=4))
def test_the_kernel_and_the_matcher_agree(pattern, texts):
    with linear_only():
        try:
            node = parse({"t": {"$regex": pattern}})
        except DocdbError:
            return
    test, program = matcher(node), compile_program(node)
    for text in texts:
        answer = 2 if program is None else program.match(codec.encode({"t": text}))
        assert answer in (2, int(test({"t": text})))
        assert test({"t": text}) == (compile_linear(pattern).search(text) is not None)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab|.?*", min_size=1, max_size=6), st.text(alphabet="abé", max_size=8))
def test_all_matches_are_those_that_one_search_after_the_other_finds(pattern, text):
    spec = {"$regexFindAll": {"input": "$t", "regex": pattern}}
    try:
        with linear_only():
            linear = compile_expression(spec)
        found = linear({"t": text})
    except DocdbError:
        return
    at, expected = 0, []
    while match := compile_linear(pattern).search(text, at):
        expected.append({"match": match.group(), "idx": match.start(), "captures": list(match.groups())})
        at = match.end() + (match.end() == match.start())
        if at >= len(text):
            break
    assert found == expected


def test_many_matches_of_a_long_text_take_one_pass():
    with linear_only():
        every = compile_expression({"$size": {"$regexFindAll": {"input": "$t", "regex": "a"}}})
    assert every({"t": "a" * 200_000}) == 200_000


def test_without_the_choice_patterns_are_what_they_were():
    assert matcher(parse({"t": {"$regex": r"(a)\1"}}))({"t": "aa"})
