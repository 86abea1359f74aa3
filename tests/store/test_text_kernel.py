"""Entries of text indexes made in the kernel against the reference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from docdb import _native
from docdb.errors import CorruptError
from docdb.language import filters
from docdb.language.order import order_key
from docdb.language.programs import compile_program
from docdb.language.text_search import TextSpec
from docdb.language.text_words import stemmer_here
from docdb.store import codec, text_entries
from docdb.store.runs import PairRun, gather
from docdb.store.text_entries import TextEntryMaker

pytestmark = pytest.mark.skipif(not _native.AVAILABLE, reason="the kernels are not there")

KEYS = ((("t",), "text"),)
WEIGHTS = (("t", 1.0), ("o.a", 3.0), ("o.b.c", 0.1), ("o", 7.0))
WORDS = st.sampled_from(
    ["red", "Red", "RED", "reds", "the", "it's", "'quoted'", "''", "a_b", "x" * 70, "café", "Ж", "日本語", "1", "running", "Œuvre", "\x1f", "", "_"]
)  # fmt: skip
TEXTS = st.lists(WORDS, max_size=12).flatmap(
    lambda words: st.sampled_from([" ", ",", "-", "\n", ". "]).map(lambda between: between.join(words))
)
VALUES = st.recursive(
    st.one_of(TEXTS, TEXTS, st.text(max_size=8), st.none(), st.integers(0, 9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abct"), inner, max_size=3)),
    max_leaves=6,
)
DOCUMENTS = st.lists(
    st.fixed_dictionaries({}, optional={"t": VALUES, "o": VALUES, "language": st.sampled_from(["de", "none", None])}),
    max_size=12,
)


def maker(language: str = "english", stemmer: str | None = None) -> TextEntryMaker:
    return TextEntryMaker(7, KEYS, TextSpec(WEIGHTS, language, "language", stemmer or stemmer_here()))


def stored(documents: list[dict[str, Any]]) -> tuple[list[bytes], list[bytes]]:
    whole = [{"_id": n, **document} for n, document in enumerate(documents)]
    return [order_key(document["_id"]) for document in whole], [codec.encode(document) for document in whole]


@pytest.mark.parametrize("language", ["english", "none", "german"])
@given(DOCUMENTS)
@example([{"t": "red"}, {"t": "Red"}, {"t": "red "}, {"t": ["red", "red"]}, {"t": "Ж"}, {"t": "é"}])
@example([{"o": [{"a": "x y", "b": {"c": "x"}}, {"b": [{"c": "y"}], "a": "x"}]}])
def test_the_entries_of_the_reference(language: str, documents: list[dict[str, Any]]) -> None:
    ids, datas = stored(documents)
    made = maker(language)
    run = made.run(gather(1, ids, datas))
    expected = PairRun(pair for row in made.entries_many(ids, datas) for pair in row)
    assert list(run) == list(expected)
    assert (run.cut, run.multikey, len(run)) == (expected.cut, expected.multikey, len(expected))


def test_documents_out_of_order_and_many_words() -> None:
    ids, datas = stored([{"t": f"w{n * 7919 % 5000} w{n % 50} same same"} for n in range(6000)])
    made = maker("none", "none")
    run = made.run(gather(1, ids[::-1], datas[::-1]))
    assert list(run) == list(PairRun(pair for row in made.entries_many(ids, datas) for pair in row))


def test_what_the_index_takes() -> None:
    ids, datas = stored([{"t": f"w{n}"} for n in range(10)])
    program = compile_program(filters.parse({"_id": {"$gt": 2}}))
    run = maker().run(gather(1, ids, datas), program, ids[6])
    assert [key[4:6] for key, _ in run] == [b"w3", b"w4", b"w5", b"w6"]


@pytest.mark.parametrize("language", [5, "klingon"], ids=str)
def test_a_language_that_is_none_is_left_to_the_reference(language: Any) -> None:
    ids, datas = stored([{"t": "red"}, {"o": {"language": language}}])
    assert maker().run(gather(1, ids, datas)) is None


def test_what_only_the_reference_knows() -> None:
    ids, datas = stored([{"t": "red"}])
    spec = TextSpec((("$**", 1.0),), "none", "language", "none")
    assert TextEntryMaker(7, KEYS, spec).run(gather(1, ids, datas)) is None
    beside = (*KEYS, (("k",), 1))
    assert TextEntryMaker(7, beside, TextSpec(WEIGHTS, "none", "language", "none")).run(gather(1, ids, datas)) is None


def test_a_vocabulary_that_is_full_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_entries, "_VOCABULARIES", {})
    monkeypatch.setattr(text_entries, "MOST_CACHED", 1_000)
    made = maker("none", "none")
    for part in range(6):
        ids, datas = stored([{"t": f"{part}a{n} same {part}c{n}"} for n in range(400)])
        run = made.run(gather(1, ids, datas))
        assert list(run) == list(PairRun(pair for row in made.entries_many(ids, datas) for pair in row))


@given(st.binary(max_size=40))
def test_the_kernel_survives_any_bytes(data: bytes) -> None:
    for whole in (data, b"\x82\xa1t" + data + b"\xa1o" + data):
        try:
            maker().run(gather(1, [b"\x20"], [whole]))
        except CorruptError:
            continue
