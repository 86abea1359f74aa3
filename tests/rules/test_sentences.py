"""What the language promises, sentence by sentence: values, logic, get in both forms, dates, bounds."""

import datetime as dt
import itertools
from decimal import Decimal

import pytest

from docdb.errors import RuleError
from docdb.language.values import Int64
from docdb.rules.checker import check
from docdb.rules.evaluator import FUEL, MAX_COUNT, Circumstances, Failure, Unanswered, allows, evaluate
from docdb.rules.parser import MAX_LENGTH, parse
from docdb.rules.ruleset import ACTIONS, load
from tests.rules.readers import Rows

ME = {"openid": "me", "uid": "me"}
NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
NOON_MS = 1767355200000


def outcome(text, doc=None, *, action="update", **more):
    """Return True, False or, for a failure, its reason."""
    more.setdefault("auth", ME)
    more.setdefault("now", NOON_MS)
    tree = parse(text)
    check(text, tree, action)
    about = Circumstances(doc={} if doc is None else doc, **more)
    try:
        value = evaluate(tree, about)
    except Failure as failure:
        assert not allows(tree, about)
        return failure.reason
    assert allows(tree, about) is (value is True)
    return value


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
@pytest.mark.parametrize("negated", [False, True])
def test_a_comparison_with_a_missing_side_is_an_error_whichever_side_it_is(operator, negated):
    other = "['a']" if "in" in operator else "'a'"
    sign = "!" if negated else ""
    assert outcome(f"{sign}(doc.x {operator} {other})") == "there is no field 'x'"
    assert outcome(f"{sign}('a' {operator} doc.x)") == "there is no field 'x'"


@pytest.mark.parametrize("text", ["doc.x == null", "doc.x != null", "!(doc.x == null)", "null == doc.x"])
def test_missing_is_not_null(text):
    assert outcome(text) == "there is no field 'x'"
    assert outcome(text, {"x": None}) is (text in ("doc.x == null", "null == doc.x"))


@pytest.mark.parametrize(
    ("value", "verdict"), [(True, True), (False, False), (1, False), ("true", False), (None, False), ({}, False)]
)
def test_only_true_allows(value, verdict):
    assert allows(parse("doc.x"), Circumstances(auth=None, now=0, doc={"x": value})) is verdict


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations([1, True, "1", None, [1], {"a": 1}, b"1", NOON], 2))
)
def test_types_are_strict(one, other):
    assert outcome("doc.a == doc.b", {"a": one, "b": other}) is False
    assert outcome("doc.a != doc.b", {"a": one, "b": other}) is True
    assert outcome("doc.a in [doc.b]", {"a": one, "b": other}) is False


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations([1, 1.0, Int64(1), Decimal("1.0")], 2)))
def test_numbers_compare_by_value(one, other):
    assert outcome("doc.a == doc.b && doc.a <= doc.b && !(doc.a < doc.b)", {"a": one, "b": other}) is True


@pytest.mark.parametrize(
    ("text", "doc"),
    [
        ("doc.a < doc.b", {"a": 2.0**53, "b": 2**53 + 1}),
        ("doc.a < doc.b", {"a": Decimal("0.1"), "b": 0.1}),
        ("doc.a > doc.b", {"a": Decimal("Infinity"), "b": 2**62}),
        ("doc.a == doc.b", {"a": 0.0, "b": -0.0}),
    ],
)
def test_numbers_compare_exactly(text, doc):
    assert outcome(text, doc) is True


@pytest.mark.parametrize("nan", [float("nan"), Decimal("NaN"), Decimal("sNaN")])
def test_nan_equals_nothing_and_has_no_order(nan):
    assert outcome("doc.n == doc.n", {"n": nan}) is False
    assert outcome("doc.n in [doc.n, 1]", {"n": nan}) is False
    for operator in ("<", "<=", ">", ">="):
        for text in (f"doc.n {operator} 1", f"!(1 {operator} doc.n)", f"doc.n {operator} now"):
            assert outcome(text, {"n": nan}) == f"{operator} needs two numbers, strings or dates"


@pytest.mark.parametrize(
    ("left", "right"), [("straße", "strasse"), ("é", "e\u0301"), ("K", "\u212a"), ("a", "A"), ("1", "\u0661")]
)
def test_strings_compare_by_code_point_without_folding(left, right):
    assert outcome("doc.a == doc.b", {"a": left, "b": right}) is False
    assert outcome("doc.a < doc.b", {"a": left, "b": right}) is (left < right)


def test_strings_order_by_code_point_beyond_the_first_plane():
    assert outcome("doc.a < doc.b", {"a": "\uffff", "b": "\U00010000"}) is True


@pytest.mark.parametrize(
    ("text", "at", "verdict"),
    [
        ("doc.at <= now", NOON, True),
        ("doc.at < now", NOON, False),
        ("now >= doc.at", NOON, True),
        ("doc.at < now", NOON - dt.timedelta(microseconds=1), True),
        ("doc.at > now", NOON + dt.timedelta(microseconds=1), True),
        ("now - doc.at < 60000", NOON - dt.timedelta(seconds=59), True),
        ("now - doc.at < 60000", NOON - dt.timedelta(seconds=60), False),
        ("doc.at + 60000 > now", NOON - dt.timedelta(seconds=59), True),
        ("doc.at - doc.at == 0", NOON, True),
        ("doc.at == now", NOON, False),
        ("doc.at != now", NOON, True),
        ("doc.at < 1.5e300", NOON, True),
        ("doc.at > 0 && doc.at > -1", dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC), True),
        ("doc.at < 0", dt.datetime(1969, 12, 31, tzinfo=dt.UTC), True),
    ],
)
def test_a_date_counts_as_milliseconds_beside_a_number(text, at, verdict):
    assert outcome(text, {"at": at}) is verdict


@pytest.mark.parametrize("other", ["'2026'", "doc.text", "doc.yes", "doc.none"])
def test_a_date_has_no_order_with_what_is_no_number(other):
    doc = {"at": NOON, "text": "2026", "yes": True, "none": None}
    assert outcome(f"doc.at > {other}", doc) == "> needs two numbers, strings or dates"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("doc.a + doc.b == 1", "+ needs two numbers or dates, + also two strings"),
        ("doc.t - doc.t == 1", "- needs two numbers or dates, + also two strings"),
        ("doc.huge + doc.huge > 1", "there is no such sum: too large, or of Decimals"),
        ("doc.money + 1 > 1", "there is no such sum: too large, or of Decimals"),
        ("doc.yes + 1 == 2", "+ needs two numbers or dates, + also two strings"),
        ("doc.long + doc.long == 'x'", "a text has at most 4096 characters"),
    ],
)
def test_sums_that_are_none(text, reason):
    doc = {"a": 1, "b": "1", "t": "x", "huge": 1e308, "money": Decimal(1), "yes": True, "long": "x" * 3000}
    assert outcome(text, doc) == reason


@pytest.mark.parametrize(
    "text", ["doc.a - 1 == 1", "doc.a -1 == 1", "doc.a - -1 == 3", "-1 + doc.a == 1", "1 - 1 - 1 == -1"]
)
def test_subtraction(text):
    assert outcome(text, {"a": 2}) is True


@pytest.mark.parametrize("text", ["!(doc.x in ['a', 'b'])", "doc.x not in ['a', 'b']", "!('c' not in [doc.x])"])
def test_not_in(text):
    assert outcome(text, {"x": "c"}) is True
    assert outcome(text, {"x": "a"}) is False


def test_words_of_the_language_are_fields_behind_a_dot():
    doc = {"in": 1, "not": 2, "null": 3, "undefined": 4, "get": 5, "auth": 6}
    assert outcome(" && ".join(f"doc.{name} == {value}" for name, value in doc.items()), doc) is True


# get


def test_an_absent_document_is_null():
    reader = Rows(roles=[{"_id": "you", "role": "admin"}])
    assert outcome("get('database.roles.' + auth.uid) == null", reader=reader) is True
    assert outcome("get('database.roles.' + auth.uid) != null", reader=reader) is False
    assert outcome("get('database.roles.' + auth.uid) == undefined", reader=reader) is True
    assert outcome("get('database.roles.you') != undefined", reader=reader) is True
    assert outcome("get('database.roles.you') != null", reader=reader) is True


@pytest.mark.parametrize(
    "text",
    [
        "get('database.roles.x').role == 'admin'",
        "get('database.roles.x').role != 'admin'",
        "!(get('database.roles.x').role == 'admin')",
        "get('database.roles.x').role == null",
        "get('database.roles.x').role == undefined",
        "get('database.roles.x')[auth.uid] == 1",
        "get('database.roles.x').role not in ['banned']",
    ],
)
def test_a_field_of_an_absent_document_denies(text):
    assert isinstance(outcome(text, reader=Rows()), str)


def test_a_guard_for_an_absent_document_can_be_written():
    text = "get('database.bans.' + auth.uid) == null || get('database.bans.' + auth.uid).until < now"
    assert outcome(text, reader=Rows()) is True
    assert outcome(text, reader=Rows(bans=[{"_id": "me", "until": NOON_MS - 1}])) is True
    assert outcome(text, reader=Rows(bans=[{"_id": "me", "until": NOON_MS + 1}])) is False


def test_paths_by_template_and_by_concatenation_and_fields_after_the_call():
    reader = Rows(shops=[{"_id": "s.1", "owner": "me", "staff": {"me": {"level": 3}}}])
    doc = {"shop": "s.1"}
    for path in (
        "`database.shops.${doc.shop}`",
        "'database.shops.' + doc.shop",
        "'database.' + 'shops.' + doc.shop",
        "'database.shops.s.1'",
    ):
        assert (
            outcome(f"get({path}).owner == auth.uid && get({path}).staff[auth.uid].level >= 3", doc, reader=reader)
            is True
        )


@pytest.mark.parametrize("name", ["database.collection.roles", "database.roles"])
def test_a_collection_is_asked_with_where_size_exists_and_its_first(name):
    reader = Rows(roles=[{"_id": "1", "who": "me", "role": "admin"}, {"_id": "2", "who": "me", "role": "x"}])
    mine = f"get('{name}').where({{who: auth.uid}})"
    nobody = f"get('{name}').where({{who: 'nobody'}})"
    assert outcome(f"{mine}.size() == 2 && {mine}.exists() && {mine}[0]._id == '1'", reader=reader) is True
    assert outcome(f"{nobody}.size() == 0 && !{nobody}.exists() && {nobody}[0] == undefined", reader=reader) is True
    assert outcome(f"{mine}.where({{role: 'x'}})[0]._id == '2'", reader=reader) is True
    assert outcome(f"exists({mine}[0]) && default({nobody}[0], null) == null", reader=reader) is True
    assert outcome(f"{nobody}[0].role != 'admin'", reader=reader) == "no document matches"
    assert outcome(f"{mine}.where({{who: 'you'}}).exists()", reader=reader) == "a where names each field once"


def test_a_collection_is_never_loaded():
    reader = Rows(logs=[{"_id": str(number), "n": 1} for number in range(5000)])
    assert (
        outcome("get('database.logs').exists() && get('database.logs').where({n: 1})[0].n == 1", reader=reader) is True
    )
    assert reader.given == 2


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("{} > 0", True), ("{} > 1000", True), ("{} == 0", False), ("0 != {}", True), ("{} < 10", False), ("5 < {}", True), ("{} <= 1000", False)],
)  # fmt: skip
def test_a_count_that_stopped_says_what_it_knows(text, verdict):
    reader = Rows(logs=[{"_id": str(number)} for number in range(5000)])
    assert outcome(text.replace("{}", "get('database.logs').size()"), reader=reader) is verdict


@pytest.mark.parametrize(
    "text",
    ["{} >= 1001", "{} > 1001", "{} == 1001", "{} == 5000", "{} != 5000", "{} < 9999", "{} in [5000]", "{} + 1 > 3", "{} == {}", "{} > doc.x"],
)  # fmt: skip
def test_a_count_that_stopped_is_no_number(text):
    reader = Rows(logs=[{"_id": str(number)} for number in range(5000)])
    expected = f"there are more than {MAX_COUNT} documents to count"
    assert outcome(text.replace("{}", "get('database.logs').size()"), {"x": "a"}, reader=reader) == expected


def test_a_reader_that_cannot_answer_is_asked_once():
    class Slow(Rows):
        def matching(self, collection, equal, limit):
            self.reads += 1
            raise Unanswered("no index on roles serves this where")

    reader, memo = Slow(), {}
    for _ in range(3):
        found = outcome("get('database.roles').where({x: 1}).exists()", reader=reader, memo=memo)
        assert found == "no index on roles serves this where"
    assert reader.reads == 1


def test_an_id_made_to_look_like_a_query_finds_no_query():
    reader, memo = Rows(roles=[{"_id": "1", "role": "admin"}]), {}
    assert outcome("get('database.roles').where({role: 'admin'}).exists()", reader=reader, memo=memo) is True
    (kind, collection, equal) = next(iter(memo))
    assert (kind, collection) == ("first", "roles")
    for wanted in (equal, f"where {equal}"):
        assert outcome("get('database.roles.' + doc.x) == null", {"x": wanted}, reader=reader, memo=memo) is True


def test_ten_distinct_documents_are_the_most_of_one_operation():
    reader, memo = Rows(shops=[{"_id": str(number), "open": True} for number in range(20)]), {}
    verdicts = [
        outcome("get('database.shops.' + doc.shop).open", {"shop": str(number % 11)}, reader=reader, memo=memo)
        for number in range(22)
    ]
    assert verdicts == ([True] * 10 + ["gets read at most 10 documents"]) * 2
    assert reader.reads == 10


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("get('database.a').where({x: get('database.b').where({y: get('database.c.d').z})[0].y}).exists()", 57),
        ("get('database.a.' + get('database.b').where({y: get('database.c.d').z})[0].y).z == 1", 49),
        ("get('database.roles').role == 1", 1),
        ("get('database.roles')[1].role == 1", 1),
        ("get('database.roles')['0'].role == 1", 1),
        ("get('database.roles')[true].role == 1", 1),
        ("get('database.roles') == null", 1),
        ("get('database.roles').where({a: 1}) != undefined", 40),
        ("auth.uid in [get('database.roles')]", 14),
        ("get('database.roles.' + auth.uid)", 1),
        ("get('database.roles.' + auth.uid) && true", 1),
        ("auth && auth.uid == 'x'", 1),
        ("!auth", 2),
        ("get('database.' + 'roles' + doc.x).y == 1", 5),
        ("get(auth.path).y == 1", 5),
        ("get('roles.1').y == 1", 5),
        ("'a'.b == 1", 1),
        ("now.x == 1", 1),
        ("doc.a not ['a']", 11),
        ("not doc.a", 5),
        ("doc.a = 1", 7),
        ("doc.a and doc.b", 7),
    ],
)  # fmt: skip
def test_what_can_never_do_is_found_when_loaded(text, column):
    with pytest.raises(RuleError) as caught:
        load({"read": text})
    assert (caught.value.line, caught.value.column) == (1, column)
    assert caught.value.picture == f"{text}\n{' ' * (column - 1)}^"
    assert str(caught.value).endswith(caught.value.picture)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("doc.a = 1", "two values are compared with =="),
        ("doc.a and doc.b", "write &&"),
        ("user.id == 1", "there are auth, doc, request, now"),
        ("aut.uid == 1", "did you mean 'auth'?"),
        ("exist(doc.x)", "did you mean 'exists'?"),
        ("auth && auth.uid == 'x'", "write ... != null"),
    ],
)
def test_a_mistake_comes_with_its_cure(text, hint):
    with pytest.raises(RuleError) as caught:
        load({"read": text})
    assert caught.value.hint == hint


def test_an_unknown_collection_is_a_mistake_where_the_collections_are_known():
    rules = {"read": "get('database.rols.' + auth.uid).role == 'admin'"}
    assert load(rules).trees
    with pytest.raises(RuleError, match="there is no collection 'rols'.*did you mean 'roles'") as caught:
        load(rules, collections=["roles", "posts"])
    assert caught.value.column == 5


# Bounds


def test_a_text_of_1024_characters_loads_and_one_more_does_not():
    text = "doc.a == '" + "x" * (MAX_LENGTH - 11) + "'"
    assert len(text) == MAX_LENGTH
    assert load({"read": text}).trees
    with pytest.raises(RuleError, match="at most 1024 characters"):
        load({"read": text + " "})
    assert load({"read": text + " "}, max_length=2000).trees


def test_the_order_of_terms_decides_nothing_when_fuel_ends():
    fuel = 300
    doc = {"long": [0] * fuel, "half": [0] * (fuel // 3)}
    for dear in ("1 in doc.long", "!(1 in doc.long)"):
        assert outcome(f"{dear} || true", doc, fuel=fuel) is outcome(f"true || {dear}", doc, fuel=fuel) is True
        assert outcome(f"{dear} && false", doc, fuel=fuel) is outcome(f"false && {dear}", doc, fuel=fuel) is False
        for text in (f"{dear} && true", f"true && {dear}"):
            assert outcome(text, doc, fuel=fuel) == "the rule takes too many steps"
    half = "1 not in doc.half"
    for terms in itertools.permutations([half, half, half, "doc.half.size() > 5"]):
        assert outcome(" && ".join(terms), doc, fuel=fuel) is True


def test_a_judgement_does_not_depend_on_those_before_it():
    tree = parse("!(1 in doc.x)")
    about = Circumstances(auth=None, now=0, doc={"x": [0] * (FUEL // 3)})
    assert [allows(tree, about) for _ in range(20)] == [True] * 20


def test_comparing_something_huge_costs_no_more_than_the_fuel():
    wide = {"x": [[0] * 1000 for _ in range(1000)]}
    assert outcome("doc.x == doc.x", wide) == "the rule takes too many steps"
    assert outcome("doc.x == doc.x", {"x": "y" * 10_000_000}) == "the rule takes too many steps"


def test_a_rule_is_denied_and_not_an_accident_when_the_stack_is_full():
    tree = parse(" && ".join(["doc.a"] * 100))

    def deep(levels):
        return deep(levels - 1) if levels else allows(tree, Circumstances(auth=None, now=0, doc={"a": True}))

    assert deep(100) is True
    assert deep(600) is False


# Actions


def test_doc_and_request_data_in_each_action():
    rules = load({
        "create": "doc.n == 2 && request.data.n == 2 && changed('n') && doc == request.data",
        "update": "doc.n == 1 && request.data.n == 2 && changed('n')",
        "delete": "doc.n == 1",
    })  # fmt: skip
    old, new = {"n": 1}, {"n": 2}
    assert rules.allows("create", Circumstances(auth=None, now=0, doc=new, new=new))
    assert rules.allows("update", Circumstances(auth=None, now=0, doc=old, old=old, new=new))
    assert rules.allows("delete", Circumstances(auth=None, now=0, doc=old, old=old))
    assert not rules.allows("read", Circumstances(auth=None, now=0, doc=old))


@pytest.mark.parametrize("action", ["read", "delete"])
@pytest.mark.parametrize("text", ["request.data.n == 1", "changed('n')"])
def test_there_is_no_new_image_in_read_and_delete(action, text):
    with pytest.raises(RuleError, match="request.data is there for|nothing changes in a"):
        load({action: text})
    assert not load({"write": text}).allows("delete", Circumstances(auth=None, now=0, doc={"n": 1}, old={"n": 1}))


def test_a_specific_key_wins_over_write_and_read_never_falls_back():
    rules = load({"write": True, "update": False})
    about = Circumstances(auth=None, now=0, doc={}, new={})
    assert [rules.allows(action, about) for action in ACTIONS] == [False, True, False, True]


# Patterns


def test_patterns_run_on_re2():
    pytest.importorskip("re2")
    assert outcome("/^pub\\/[a-z]+$/.test(doc.path) == true", {"path": "pub/abc"}) is True
    assert outcome("/^PUB/i.test(doc.path)", {"path": "x pub"}) is False
    assert outcome("/(a+)+$/.test(doc.path)", {"path": "a" * 5000 + "b"}) is False
    assert outcome("/a/.test(doc.path)", {"path": 1}) == "a pattern is tested on a string"
    assert outcome("!/a/.test(doc.path)") == "there is no field 'path'"
    assert outcome("/a/.test(doc.path)", {"path": "b" * 1_000_000}) == "the rule takes too many steps"


@pytest.mark.parametrize(
    "text",
    [
        "/(/.test(doc.x)",
        "/(a)\\1/.test(doc.x)",
        "/(?=a)/.test(doc.x)",
        "/a/ == doc.x",
        "/a/.test(1)",
        "doc.x.test('a')",
    ],
)
def test_a_pattern_that_is_none_does_not_load(text):
    pytest.importorskip("re2")
    with pytest.raises(RuleError):
        load({"read": text})


def test_without_re2_a_rule_with_a_pattern_does_not_load(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "re2", None)
    with pytest.raises(RuleError, match="google-re2") as caught:
        load({"read": "doc.a == 1 && /never seen before/.test(doc.x)"})
    assert caught.value.column == 15
    assert caught.value.hint == "pip install 'docdb-engine[re2]'"
