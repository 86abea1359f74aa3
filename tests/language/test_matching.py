"""MongoDB's matching, example by example (each line holds on a MongoDB 8 server)."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import pytest

from docdb.errors import QueryError
from docdb.language import filters, tree
from docdb.language.matching import compile_pattern, match_position, matcher, truth
from docdb.language.tree import And, Bits, Compare, ElemMatch, Exists, In, Mod, Not, Or, Pattern, Size, TypeIs
from docdb.language.values import MISSING, Binary, Int64, MaxKey, MinKey, Regex

NAN = math.nan
DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def path(text):
    return tuple(text.split("."))


def eq(where, value):
    return Compare(path(where), "eq", value)


def compare(op, value):
    return Compare(("a",), op, value)


EQUALITY = [
    ("number by value", eq("a", 1), {"a": 1.0}, True),
    ("decimal by value", eq("a", 1.5), {"a": Decimal("1.50")}, True),
    ("long ints are exact", eq("a", 2**53 + 1), {"a": 2.0**53}, False),
    ("minus zero", eq("a", 0), {"a": -0.0}, True),
    ("bool is no number", eq("a", 1), {"a": True}, False),
    ("number is no bool", eq("a", True), {"a": 1}, False),
    ("NaN equals NaN", eq("a", NAN), {"a": Decimal("NaN")}, True),
    ("NaN is no number else", eq("a", 1), {"a": NAN}, False),
    ("null is null", eq("a", None), {"a": None}, True),
    ("null is missing", eq("a", None), {}, True),
    ("null is not an empty array", eq("a", None), {"a": []}, False),
    ("null in array", eq("a", None), {"a": [1, None]}, True),
    ("whole object", eq("a", {"x": 1, "y": 2}), {"a": {"x": 1.0, "y": 2}}, True),
    ("order of fields", eq("a", {"x": 1, "y": 2}), {"a": {"y": 2, "x": 1}}, False),
    ("whole array", eq("a", [1, 2]), {"a": [1, 2]}, True),
    ("array in array", eq("a", [1, 2]), {"a": [[1, 2]]}, True),
    ("only one level", eq("a", 1), {"a": [[1]]}, False),
    ("stored Regex", eq("a", Regex("x", "i")), {"a": Regex("x", "i")}, True),
    ("Regex does not search", eq("a", Regex("x")), {"a": "x"}, False),
    ("bytes and subtypes", eq("a", b"x"), {"a": Binary(b"x", 5)}, False),
    ("Int64", eq("a", 5), {"a": Int64(5)}, True),
    ("MinKey", eq("a", MinKey()), {"a": MinKey()}, True),
]
PATHS = [
    ("object on the way", eq("a.b", 1), {"a": {"b": 1}}, True),
    ("array on the way", eq("a.b", 1), {"a": [{"b": 2}, {"b": 1}]}, True),
    ("array in array on the way", eq("a.b", 1), {"a": [[{"b": 1}]]}, False),
    ("position", eq("a.1", 2), {"a": [1, 2]}, True),
    ("position then name", eq("a.0.b", 1), {"a": [{"b": 1}]}, True),
    ("number as a name", eq("a.0", 1), {"a": {"0": 1}}, True),
    ("number as a name in an element", eq("a.0", 1), {"a": [5, {"0": 1}]}, True),
    ("position of a nested array", eq("a.0.1", 2), {"a": [[1, 2]]}, True),
    ("element at a position is not entered", eq("a.0", 1), {"a": [[1]]}, False),
    ("leading zero is a name", eq("a.01", 2), {"a": [1, 2]}, False),
    ("null behind a scalar", eq("a.b", None), {"a": 5}, True),
    ("null behind scalars in an array", eq("a.b", None), {"a": [1, 2]}, False),
    ("null behind an empty array", eq("a.b", None), {"a": []}, False),
    ("null behind one object of several", eq("a.b", None), {"a": [{"b": 1}, {"c": 1}]}, True),
    ("null behind a scalar and an object", eq("a.b", None), {"a": [1, {"b": 1}]}, False),
    ("exists in an array", Exists(path("a.b")), {"a": [{"b": None}]}, True),
    ("exists behind scalars", Exists(path("a.b")), {"a": [1]}, False),
    ("empty array exists", Exists(("a",)), {"a": []}, True),
    ("missing does not exist", Exists(("a",)), {"b": 1}, False),
]
RANGES = [
    ("greater", compare("gt", 5), {"a": 6}, True),
    ("any element", compare("gt", 5), {"a": [1, 6]}, True),
    ("text is no number", compare("gt", 5), {"a": "6"}, False),
    ("lte NaN", compare("lte", NAN), {"a": NAN}, True),
    ("gte NaN", compare("gte", NAN), {"a": 5}, False),
    ("lt NaN", compare("lt", NAN), {"a": -math.inf}, False),
    ("NaN is below nothing", compare("lt", 5), {"a": NAN}, False),
    ("Decimal NaN is below nothing", compare("lt", Decimal(5)), {"a": Decimal("NaN")}, False),
    ("gte null", compare("gte", None), {}, True),
    ("gt null", compare("gt", None), {"a": None}, False),
    ("lt MaxKey", compare("lt", MaxKey()), {}, True),
    ("lt MaxKey of itself", compare("lt", MaxKey()), {"a": MaxKey()}, False),
    ("gt MinKey", compare("gt", MinKey()), {"a": "x"}, True),
    ("lte MinKey", compare("lte", MinKey()), {"a": 1}, False),
    ("gte MinKey of itself", compare("gte", MinKey()), {"a": MinKey()}, True),
    ("arrays by order", compare("gt", [1]), {"a": [1, 2]}, True),
    ("objects by order", compare("lt", {"x": 2}), {"a": {"x": 1}}, True),
    ("dates", compare("lt", DAY), {"a": DAY - dt.timedelta(1)}, True),
    ("false below true", compare("lt", True), {"a": False}, True),
]
OTHERS = [
    ("in", In(("a",), (1, "x")), {"a": "x"}, True),
    ("in null", In(("a",), (None,)), {}, True),
    ("in nothing", In(("a",), ()), {"a": 1}, False),
    ("in with NaN", In(("a",), (NAN,)), {"a": NAN}, True),
    ("in is typed", In(("a",), (1,)), {"a": True}, False),
    ("in with array", In(("a",), ([1],)), {"a": [1]}, True),
    ("in with pattern", In(("a",), (), (Pattern(("a",), "^x", ""),)), {"a": ["y", "xy"]}, True),
    ("not in", Not(In(("a",), (1,))), {"a": [1, 2]}, False),
    ("type of an element", TypeIs(("a",), frozenset({"string"})), {"a": [1, "x"]}, True),
    ("type array", TypeIs(("a",), frozenset({"array"})), {"a": []}, True),
    ("type long", TypeIs(("a",), frozenset({"long"})), {"a": 2**40}, True),
    ("type null is not missing", TypeIs(("a",), frozenset({"null"})), {}, False),
    ("size", Size(("a",), 1), {"a": [[1, 2]]}, True),
    ("size of no array", Size(("a",), 1), {"a": "x"}, False),
    ("mod", Mod(("a",), 4, 0), {"a": 8.9}, True),
    ("mod of a negative", Mod(("a",), 4, -1), {"a": -5}, True),
    ("mod with a negative divisor", Mod(("a",), -4, 1), {"a": 5}, True),
    ("mod of infinity", Mod(("a",), 4, 0), {"a": math.inf}, False),
    ("mod of NaN", Mod(("a",), 4, 0), {"a": Decimal("NaN")}, False),
    ("mod beyond 64 bits", Mod(("a",), 4, 0), {"a": 1e300}, False),
    ("mod of a Decimal", Mod(("a",), 4, 1), {"a": Decimal("5.7")}, True),
    ("bits set", Bits(("a",), "all_set", (0, 2)), {"a": 5.0}, True),
    ("bits of a fraction", Bits(("a",), "all_clear", (7,)), {"a": 5.5}, False),
    ("bits are sign-extended", Bits(("a",), "all_set", (200,)), {"a": -1}, True),
    ("bits of bytes are little-endian", Bits(("a",), "any_set", (9,)), {"a": b"\x00\x02"}, True),
    ("bits behind the bytes", Bits(("a",), "any_clear", (99,)), {"a": b"\xff"}, True),
    ("bits of subtype 2", Bits(("a",), "all_set", (0,)), {"a": Binary(b"\x06", 2)}, True),
    ("pattern", Pattern(("a",), "^b", "i"), {"a": ["x", "Bc"]}, True),
    ("pattern and stored Regex", Pattern(("a",), "^b", "i"), {"a": Regex("^b", "i")}, True),
    ("pattern and another Regex", Pattern(("a",), "^b", "i"), {"a": Regex("^b")}, False),
]
COMBINED = [
    ("and over elements", And((compare("gt", 5), compare("lt", 3))), {"a": [1, 9]}, True),
    ("elemMatch of one value", ElemMatch(("a",), And((Compare((), "gt", 5), Compare((), "lt", 3))), True), {"a": [1, 9]}, False),
    ("elemMatch does not enter", ElemMatch(("a",), Compare((), "gt", 5), True), {"a": [[6]]}, False),
    ("elemMatch of a document", ElemMatch(("a",), And((eq("x", 1), eq("y", 2)))), {"a": [{"x": 1}, {"x": 1, "y": 2}]}, True),
    ("elemMatch is of one document", ElemMatch(("a",), And((eq("x", 1), eq("y", 2)))), {"a": [{"x": 1}, {"y": 2}]}, False),
    ("elemMatch takes arrays as documents", ElemMatch(("a",), eq("0", 1)), {"a": [[1]]}, True),
    ("elemMatch skips scalars", ElemMatch(("a",), Not(eq("x", 1))), {"a": [5]}, False),
    ("elemMatch in elemMatch", ElemMatch(("a",), ElemMatch((), Compare((), "eq", 1), True), True), {"a": [[1]]}, True),
    ("elemMatch of no array", ElemMatch(("a",), eq("x", 1)), {"a": {"x": 1}}, False),
    ("not of a missing", Not(eq("a", 1)), {}, True),
    ("empty and", And(()), {}, True),
    ("empty or", Or(()), {}, False),
    ("or", Or((eq("a", 1), eq("b", 1), eq("c", 1))), {"c": 1}, True),
    ("constant", tree.FALSE, {}, False),
    ("expression", tree.Expr(lambda document: document["a"]), {"a": 0.0}, False),
    ("schema", tree.Schema(lambda document: True), {}, True),
]  # fmt: skip
CASES = EQUALITY + PATHS + RANGES + OTHERS + COMBINED


@pytest.mark.parametrize(
    ("node", "document", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_matching(node, document, expected):
    assert matcher(node)(document) is expected


POSITIONS = [
    ("element", eq("a", 2), {"a": [1, 2]}, 1),
    ("no array", eq("a", 2), {"a": 2}, None),
    ("no match", eq("a", 3), {"a": [1, 2]}, None),
    ("whole array", eq("a", [1, 2]), {"a": [1, 2]}, None),
    ("documents", eq("a.b", 2), {"a": [{"b": 1}, {"b": 2}]}, 1),
    ("outermost array", eq("a.b", 2), {"a": [{"b": [0]}, {"b": [0, 0, 2]}]}, 1),
    ("behind an object", eq("a.b", 2), {"a": {"b": [0, 2]}}, 1),
    ("behind a position", eq("a.0.b", 2), {"a": [{"b": [0, 0, 2]}]}, 2),
    ("elemMatch", ElemMatch(("a",), Compare((), "gt", 1), True), {"a": [1, 2, 3]}, 1),
    ("elemMatch of documents", ElemMatch(("a",), eq("x", 1)), {"a": [5, {"x": 1}]}, 1),
    ("the last decides", And((eq("a", 2), eq("b", 1))), {"a": [1, 2], "b": [1, 2]}, 0),
    ("a scalar behind does not", And((eq("a", 2), eq("b", 1))), {"a": [1, 2], "b": 1}, 1),
    ("first part of or", Or((eq("a", 9), eq("a", 2))), {"a": [1, 2]}, 1),
    ("negation says nothing", Not(eq("a", 9)), {"a": [1, 2]}, None),
]


@pytest.mark.parametrize(
    ("node", "document", "expected"), [case[1:] for case in POSITIONS], ids=[case[0] for case in POSITIONS]
)
def test_match_position(node, document, expected):
    assert match_position(node, document) == expected


class CaseFolding:
    """A collation of strength 2, in small."""

    def key(self, text):
        return text.casefold().encode()

    def order_key(self, value):
        if isinstance(value, str):
            return b"\x30" + self.key(value)
        return b"".join(self.order_key(item) for item in value) if isinstance(value, list) else repr(value).encode()


@pytest.mark.parametrize(
    ("node", "document"),
    [
        (Compare(("a",), "eq", "X", CaseFolding()), {"a": ["x"]}),
        (Compare(("a",), "gt", "A", CaseFolding()), {"a": "b"}),
        (Compare(("a",), "eq", ["X"], CaseFolding()), {"a": ["x"]}),
        (Compare(("a",), "eq", 1, CaseFolding()), {"a": 1.0}),
        (In(("a",), ("X", None), (), CaseFolding()), {"a": "x"}),
        (In(("a",), ("X", None), (), CaseFolding()), {}),
    ],
    ids=["eq", "range", "in an array", "numbers as ever", "in", "in null"],
)
def test_collation(node, document):
    assert matcher(node)(document)
    assert not matcher(node)({"a": "c"}) or node.op == "gt"


PATTERNS = [
    (r"^a\z", "", "a", True), (r"^a\Z", "", "a\n", True), ("^a$", "", "a\n", True), (r"a\z", "", "a\n", False),
    ("^B$", "im", "a\nb", True), ("a.b", "s", "a\nb", True), ("a b # c", "x", "ab", True), ("a(?i)b|c", "", "aB", True),
    ("a(?i)b|c", "", "C", True), ("a(?i)b", "", "AB", False), ("(?-i)a", "i", "A", False), (r"\d", "", "\u0663", False),
    (r"(*UCP)\d", "", "\u0663", True), (r"\bé", "", "aé", True), (r"[[:alpha:]][[:^digit:]]", "", "a1b-", True),
    (r"\Qa.b\E+", "", "a.bb", True), (r"(?<x>a)\k<x>", "", "aa", True), (r"(?P<x>a)\1", "", "aa", True),
    (r"\x{1F600}", "", "\U0001f600", True), (r"[\w.-]+@", "", "a.b-c@", True), (r"a++b", "", "aaab", True),
    (r"(?>a|ab)c", "", "abc", False), (r"^\p{Lu}\P{Lu}$", "", "Éa", True), (r"[\p{Han}\d]+$", "", "漢1", True),
    (r"\R\h", "", "\r\n\t", True), (r"[]a]", "", "]", True), (r"[^]a]", "", "]", False),
    (r"[[a&&~~||b]", "", "&", True), (r"a(?#no)b", "", "ab", True), ("é", "i", "É", True), (r"\w", "i", "é", False),
    (r"a\Kb", "", "ab", True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "flags", "text", "found"), PATTERNS, ids=[case[0] + case[1] for case in PATTERNS])
def test_pcre_in_python(pattern, flags, text, found):
    assert (compile_pattern(pattern, flags).search(text) is not None) is found


@pytest.mark.parametrize(
    "pattern", ["(", "[a", "*a", r"\p{Nonsense}", "[[:nope:]]", r"\x{zz}", "(?<n>a)(?<n>b)", r"a\1"]
)
def test_bad_patterns(pattern):
    with pytest.raises(QueryError, match="Regular expression is invalid") as caught:
        compile_pattern(pattern)
    assert caught.value.code == 51091


def test_bad_flag():
    with pytest.raises(QueryError, match="invalid flag") as caught:
        compile_pattern("a", "q")
    assert caught.value.code == 51108


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), (MISSING, False), (False, False), (0, False), (Decimal("-0"), False), (0.0, False), (True, True), (NAN, True),
     ("", True), ([], True), (Int64(0), False)],
    ids=repr,
)  # fmt: skip
def test_truth(value, expected):
    assert truth(value) is expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"$or": [{"a": 2}, {"a": 3}]}, 1),
        ({"$or": [{"a": {"$in": [3]}}, {"a": 9}]}, 2),
        ({"$or": [{"a": 2}, {"b": 1}]}, None),
        ({"$or": [{"a": {"$gt": 2}}, {"a": 1}]}, None),
        ({"$or": [{"a": 2}, {"b": 1}], "a": 3}, 2),
    ],
    ids=["equalities on one path", "sets on one path", "two paths", "a range", "beside a condition"],
)
def test_only_an_or_that_is_a_set_gives_a_position(spec, expected):
    assert match_position(filters.parse(spec), {"a": [1, 2, 3], "b": 1}) == expected
