"""The table of what every operator, stage and option reaches has a row for whatever the engine knows, and no other."""

import inspect
from dataclasses import fields

import pytest

from docdb.errors import DocdbError
from docdb.language import filter_operators, filters, metadata, projection, updates
from docdb.language.expressions import OPERATORS
from docdb.pipeline.accumulators import ACCUMULATORS
from docdb.pipeline.runner import STAGES, compile_pipeline
from docdb.pipeline.window_functions import FUNCTIONS
from docdb.planner.queries import FindQuery
from docdb.rules import reach_table
from docdb.rules.reach import reach
from docdb.sessions import operations
from tests.pipeline.fake import ListContext

TABLES = {
    "accumulators": (reach_table.ACCUMULATORS, set(ACCUMULATORS)),
    "expressions": (reach_table.EXPRESSIONS, set(OPERATORS)),
    "field filters": (
        reach_table.FIELD_FILTERS,
        {*filters.KNOWN_OPERATORS, *filter_operators.FIELD_OPERATORS, *filters._BESIDE_NEAR},
    ),
    "filters": (reach_table.FILTERS, set(filters.DOCUMENT_OPERATORS)),
    "metadata": (reach_table.METADATA, set(metadata._KNOWN) | set(metadata._SORTED)),
    "stages": (reach_table.STAGES, set(STAGES)),
    "updates": (reach_table.UPDATES, {*updates.OPERATORS, "$rename"}),
    "windows": (reach_table.WINDOW_FUNCTIONS, set(FUNCTIONS)),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_table_has_a_row_for_what_the_engine_knows_and_no_other(name):
    table, known = TABLES[name]
    assert list(table) == sorted(known)


def kinds():
    for table in (
        reach_table.ACCUMULATORS, reach_table.EXPRESSIONS, reach_table.FIELD_FILTERS, reach_table.FILTERS, reach_table.METADATA,
        reach_table.PROJECTIONS, reach_table.WINDOW_FUNCTIONS,
    ):  # fmt: skip
        yield from table.values()
    for row in reach_table.STAGES.values():
        yield from (row.options or {"": row.argument}).values()


def test_every_kind_of_argument_is_explained():
    explained = reach_table.__doc__ or ""
    assert {kind for kind in kinds() if f"\n    {kind}" not in explained} == set()


def options_the_engine_takes(stage):
    """Ask the engine itself: its refusal of an unknown option lists the known ones."""
    needed = {"near": [0, 0]} if stage == "$geoNear" else {}
    try:
        compile_pipeline([{stage: {**needed, "noSuchOption": 1}}], context=ListContext())
    except DocdbError as error:
        hint = error.hint or ""
        return sorted(hint.removeprefix("it takes ").split(", ")) if hint.startswith("it takes ") else None
    return None


@pytest.mark.parametrize("stage", STAGES)
def test_the_options_of_a_stage_are_those_the_engine_takes(stage):
    row = reach_table.STAGES[stage]
    named = None if row.options is None or "*" in row.options else list(row.options)
    assert named == options_the_engine_takes(stage)


@pytest.mark.parametrize(
    "stage", [name for name, row in reach_table.STAGES.items() if row.options and "*" not in row.options]
)
def test_an_option_without_a_row_is_refused(stage):
    with pytest.raises(DocdbError) as caught:
        reach([{stage: {"noSuchOption": 1}}])
    assert "noSuchOption" in caught.value.message


OPERATIONS = {
    **{kind.__name__: {field.name for field in fields(kind)} for kind in operations.Operation.__args__},
    "FindQuery": set(FindQuery._fields),
    "aggregate": set(inspect.signature(operations.Session.aggregate).parameters) - {"self"},
    "distinct": set(inspect.signature(operations.Session.distinct).parameters) - {"self"},
}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_option_of_a_call_has_a_row(name):
    assert list(reach_table.OPERATIONS[name]) == sorted(OPERATIONS[name])


def test_every_kind_of_operation_has_rows():
    assert list(reach_table.OPERATIONS) == sorted(OPERATIONS)


def test_the_operators_of_a_projection_are_those_the_engine_tells_from_expressions():
    source = inspect.getsource(projection._Parser._operator)
    assert [name for name in ("$elemMatch", "$meta", "$slice") if f'"{name}"' in source] == list(
        reach_table.PROJECTIONS
    )


@pytest.mark.parametrize(
    "pipeline",
    [
        [{"$noSuchStage": {}}],
        [{"$match": {"$where": "1"}}],
        [{"$match": {"a": {"$noSuch": 1}}}],
        [{"$project": {"a": {"$noSuch": 1}}}],
        [{"$group": {"_id": 1, "a": {"$accumulator": {}}}}],
        [{"$group": {"_id": 1, "output": {"$noSuch": "$a"}}}],
        [{"$setWindowFields": {"output": {"a": {"$noSuch": 1}}}}],
        [{"$project": {"a": {"$meta": "noSuch"}}}],
    ],
    ids=str,
)
def test_what_has_no_row_is_refused(pipeline):
    with pytest.raises(DocdbError):
        reach(pipeline)
