"""Results as tables: pyarrow, and from there pandas and polars.

What lives here: ``Tabular``, the methods all results have, and the way from chunks of columns to Arrow's arrays, which share their bytes. What it must
not know: how documents are found, how columns are made (``store/columns.py``). The three packages are loaded by the call that needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from docdb import ejson
from docdb.errors import UsageError
from docdb.language.values import canonical
from docdb.store.column_types import NARROW_DIGITS, NULL, ColumnType, united
from docdb.store.columns import Chunk, Column, Wanted, chunks_of_documents

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

__all__ = ["Tabular", "chunks_of", "text_of", "wanted_text"]


class Tabular:
    """Documents that can be had as columns."""

    __slots__ = ()

    def _chunks(self, text: frozenset[str]) -> Iterator[Chunk]:
        """Yield what is left of the documents as columns; the fields in ``text`` as text."""
        raise NotImplementedError

    def to_arrow(self, *, text: Collection[str] = ()) -> pyarrow.Table:
        """Return the documents as a ``pyarrow.Table``, a column for each top-level field; missing is null.

        From a query, a cursor or a pipeline that shows documents as they are stored, columns are made of the stored bytes, without dicts.
        ARCHITECTURE.md has the table of types: ints and floats in one field become floats, ObjectId and UUID text, objects structs, arrays
        lists. UsageError, with the field and both kinds, where no column holds all values exactly: name the field in ``text``, and it becomes
        text (Extended JSON where it is none). Memory: the table and one chunk of 32,768 rows.
        """
        pa = _loaded("pyarrow", "arrow")
        return _table(self._chunks(wanted_text(text)), pa)

    def to_arrow_reader(
        self, schema: pyarrow.Schema | None = None, *, text: Collection[str] = ()
    ) -> pyarrow.RecordBatchReader:
        """Return the documents as a stream of record batches, in flat memory.

        A stream's schema stands at its beginning: ``schema``, or that of the first 32,768 documents. What does not fit it later is a UsageError; fields that
        a given ``schema`` does not name are left out. The snapshot is held until the stream ends.
        """
        pa = _loaded("pyarrow", "arrow")
        return _reader(self._chunks(wanted_text(text)), schema, pa)

    def to_pandas(self, *, text: Collection[str] = ()) -> pandas.DataFrame:
        """Return the documents as a pandas DataFrame, by way of ``to_arrow``. Ints and bools beside nulls keep their values, as Int64 and boolean."""
        pd = _loaded("pandas", "pandas")
        return _frame(self.to_arrow(text=text), _loaded("pyarrow", "pandas"), pd)

    def to_polars(self, *, text: Collection[str] = ()) -> polars.DataFrame:
        """Return the documents as a polars DataFrame, on the memory of ``to_arrow``'s table."""
        pl = _loaded("polars", "polars")
        frame: polars.DataFrame = pl.from_arrow(self.to_arrow(text=text), rechunk=False)
        return frame


def wanted_text(text: Collection[str]) -> frozenset[str]:
    """Check the names of the fields that are to be text."""
    if isinstance(text, str) or not all(isinstance(name, str) for name in text):
        raise UsageError("text= is a list of names of fields", path="text", hint='text=["name"]')
    return frozenset(text)


def text_of(value: Any) -> str:
    """Return text as it is, other values as Extended JSON."""
    return value if type(value) is str else ejson.dumps(value)


def chunks_of(batches: Iterator[list[Any]], text: frozenset[str]) -> Iterator[Chunk]:
    """Yield the columns of documents as the user has them: dicts, or objects of a model, whose attributes are the fields."""
    documents = ([_canonical(row if isinstance(row, dict) else vars(row)) for row in batch] for batch in batches)
    return chunks_of_documents(documents, Wanted(text=text, text_of=text_of))


def _canonical(document: Any) -> dict[str, Any]:
    made: dict[str, Any] = canonical(document)
    return made


def _loaded(package: str, extra: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(f"tables need {package}", hint=f"pip install 'docdb-engine[{extra}]'") from error


# ---- columns to arrays


def _table(chunks: Iterator[Chunk], pa: Any) -> pyarrow.Table:
    types: dict[str, ColumnType] = {}
    found: list[tuple[int, dict[str, tuple[ColumnType, Any]]]] = []
    for chunk in chunks:
        for name, column in chunk.columns.items():
            types[name] = united(types.get(name, NULL), column.type, name)
        found.append((chunk.rows, {name: (column.type, _array(column, pa)) for name, column in chunk.columns.items()}))
    columns = {}
    for name, kind in types.items():
        target = _arrow_type(kind, pa)
        columns[name] = pa.chunked_array(
            [_part(rows, arrays.pop(name, None), target, pa) for rows, arrays in found], target
        )
    return pa.table(columns)


def _part(rows: int, made: tuple[ColumnType, Any] | None, target: Any, pa: Any) -> Any:
    if made is None:
        return pa.nulls(rows, target)
    array = made[1]
    return array if array.type == target else array.cast(target)


def _array(column: Column, pa: Any) -> Any:
    """Return the array on the column's own bytes."""
    if column.type.kind == "null":
        return pa.nulls(column.length)
    buffers = [None if part is None else pa.py_buffer(part) for part in (column.validity, *column.data)]
    children = [_array(child, pa) for child in column.children]
    return pa.Array.from_buffers(
        _arrow_type(column.type, pa), column.length, buffers, column.nulls, children=children or None
    )


def _arrow_type(kind: ColumnType, pa: Any) -> Any:
    return _ARROW_TYPES[kind.kind](kind, pa)


def _decimal(kind: ColumnType, pa: Any) -> Any:
    narrow = kind.digits + kind.scale <= NARROW_DIGITS
    return pa.decimal128(NARROW_DIGITS, kind.scale) if narrow else pa.decimal256(76, kind.scale)


_ARROW_TYPES: Final[dict[str, Callable[[ColumnType, Any], Any]]] = {
    "binary": lambda kind, pa: pa.binary(),
    "bool": lambda kind, pa: pa.bool_(),
    "decimal": _decimal,
    "float64": lambda kind, pa: pa.float64(),
    "int64": lambda kind, pa: pa.int64(),
    "list": lambda kind, pa: pa.list_(_arrow_type(kind.item, pa)),
    "null": lambda kind, pa: pa.null(),
    "object_id": lambda kind, pa: pa.string(),
    "struct": lambda kind, pa: pa.struct([(name, _arrow_type(below, pa)) for name, below in kind.fields]),
    "timestamp": lambda kind, pa: pa.timestamp("us", tz="UTC"),
    "utf8": lambda kind, pa: pa.string(),
    "uuid": lambda kind, pa: pa.string(),
}


# ---- streams


def _reader(chunks: Iterator[Chunk], schema: pyarrow.Schema | None, pa: Any) -> pyarrow.RecordBatchReader:
    first = next(chunks, None)
    chosen = schema is not None
    if schema is None:
        columns = {} if first is None else first.columns
        schema = pa.schema([(name, _arrow_type(column.type, pa)) for name, column in columns.items()])

    def batches() -> Iterator[Any]:
        chunk = first
        while chunk is not None:
            yield _record_batch(chunk, schema, chosen, pa)
            chunk = next(chunks, None)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _record_batch(chunk: Chunk, schema: Any, chosen: bool, pa: Any) -> Any:
    arrays = []
    for name, target in zip(schema.names, schema.types, strict=True):
        column = chunk.columns.get(name)
        made = None if column is None else (column.type, _array(column, pa))
        try:
            arrays.append(_part(chunk.rows, made, target, pa))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            kind = "" if column is None else str(column.type)
            raise _unfit(f"{kind} does not fit the stream's {target}", name) from error
    later = next((name for name in chunk.columns if name not in schema.names), None)
    if later is not None and not chosen:
        raise _unfit("the stream began without this field", later)
    return pa.record_batch(arrays, schema=schema)


def _unfit(message: str, path: str) -> UsageError:
    return UsageError(
        message, path=path, hint="give to_arrow_reader the schema, or ask for to_arrow, which sees all first"
    )


# ---- pandas


def _frame(table: pyarrow.Table, pa: Any, pd: Any) -> pandas.DataFrame:
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    apart = [
        name for name in table.column_names if table.column(name).null_count and table.column(name).type in nullable
    ]
    frame: pandas.DataFrame = table.drop_columns(apart).to_pandas()
    for name in apart:
        at = table.column_names.index(name)
        frame.insert(at, name, table.select([name]).to_pandas(types_mapper=nullable.get)[name])
    return frame
