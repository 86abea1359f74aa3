"""Typed documents in and out: ``model=`` on a collection.

What lives here: ``Model``, which makes objects of a class from stored documents and documents from objects, for
dataclasses, attrs and pydantic classes (a TypedDict is a plain dict and needs nothing), and ``Binding``, what a
collection and its queries have in common. What it must not know: filters, how sessions work. attrs and pydantic are
never imported: a class that has what theirs have is one.

A field ``_id``, or else ``id``, holds the document's ``_id``; while it is None it is left out, so that one is made.
Stored fields the class does not know are left out of the object."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from docdb.errors import DocdbError, DocumentError, UsageError
from docdb.faces.few import few

if TYPE_CHECKING:
    from docdb.sessions.operations import Operation, Outcome, Session
    from docdb.store.points import Finder

__all__ = ["PLAIN", "Binding", "CollectionOptions", "Model", "model_of"]

T = TypeVar("T")
Converter = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Model(Generic[T]):
    """Two functions: ``load`` a document into an object, ``dump`` an object into a document."""

    kind: type
    load: Callable[[dict[str, Any]], T]
    dump: Callable[[T], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CollectionOptions:
    """What a collection knows besides its session and name. ``linear``: patterns are RE2's (``language/linear_patterns.py``)."""

    model: Model[Any] | None = None
    naive_utc: bool = False
    linear: bool = False


PLAIN = CollectionOptions()


class Binding(Generic[T]):
    """A collection's name in a session, and how its documents look to the user."""

    __slots__ = ("change", "finder", "match_id", "name", "read", "session", "settings")

    def __init__(self, session: Session, name: str, settings: CollectionOptions = PLAIN) -> None:
        self.session = session
        self.name = name
        self.settings = settings
        self.read: Callable[[Any], dict[str, Any] | None]  # the document with this _id
        self.match_id: Callable[[Any], dict[str, Any] | None]  # the first that the filter {"_id": id} finds
        readers = getattr(session, "readers", None)
        if readers is not None:
            self.read, self.match_id = readers(name)
        else:
            self.read = self.match_id = partial(session.get, name)

        finder = getattr(session, "finder", None)
        self.finder: Finder | None = None if finder is None else finder(name)
        changer = getattr(session, "changer", None)
        # Sets plain fields of the document with this _id: 2 changed, 1 was so, 0 absent; -1: nothing was done, ``execute`` does it.
        self.change: Callable[[Any, Any], int] | None = None if changer is None else changer(name)

    def execute(self, operation: Operation, max_time_ms: float | None = None) -> Outcome:
        """Carry out one operation in a commit of its own and return its outcome, or raise its error."""
        (outcome,) = self.session.execute(self.name, (operation,), max_time_ms=max_time_ms)
        if isinstance(outcome, DocdbError):
            raise outcome
        return outcome

    def few(self, filter: Any, limit: int = 0) -> list[dict[str, Any]] | None:
        """Return the first documents that a filter of plain values finds, without a limit all of them; None where the session is to be asked.

        Cost, where it answers: two searches in trees a document, no plan.
        """
        return None if self.finder is None else few(self.finder, filter, limit)

    def object_of(self, document: dict[str, Any] | None) -> T | None:
        """Return one document (or None) as the model's object."""
        model = self.settings.model
        return document if document is None or model is None else model.load(document)  # type: ignore[return-value]

    def loaded(self, documents: Iterator[list[dict[str, Any]]], *, raw: bool = False) -> Iterator[list[T]]:
        """Return the batches as batches of the model's objects; a projected document stays a dict."""
        model = self.settings.model
        if model is None or raw:
            return documents  # type: ignore[return-value]
        load = model.load
        return ([load(document) for document in batch] for batch in documents)

    def stored(self, value: Any) -> Any:
        """Return what is to be stored of a document or an object of the model."""
        if isinstance(value, Mapping):
            return value
        model = self.settings.model
        if model is not None and isinstance(value, model.kind):
            return model.dump(value)
        wanted = f" or a {model.kind.__qualname__}" if model is not None else ""
        raise DocumentError(f"a document is a mapping{wanted}, not {type(value).__qualname__}", code=14)


@lru_cache(maxsize=256)
def model_of(kind: Any) -> Model[Any] | None:
    """Return the model of a class, or None where documents stay dicts (dict, TypedDict)."""
    if kind is None or typing.is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, dict)):
        return None
    if dataclasses.is_dataclass(kind):
        return _fielded(kind, {field.name: field.name for field in dataclasses.fields(kind) if field.init})
    if hasattr(kind, "__attrs_attrs__"):
        return _fielded(kind, {field.name: field.alias for field in kind.__attrs_attrs__ if field.init})
    if hasattr(kind, "model_validate") and hasattr(kind, "model_fields"):
        return _pydantic(kind)
    raise UsageError(f"model= takes a TypedDict, dataclass, attrs or pydantic class, not {kind!r}")


def _fielded(kind: Any, fields: dict[str, str]) -> Model[Any]:
    """Return the model of a class with fields (name -> argument of its constructor), converted by their annotations."""
    hints = typing.get_type_hints(kind)
    loaders = {name: _loader(hints.get(name)) for name in fields}
    stored = {name: "_id" if name == "id" and "_id" not in fields else name for name in fields}

    def load(document: Mapping[str, Any]) -> Any:
        arguments = {}
        for name, argument in fields.items():
            if stored[name] in document:
                value = document[stored[name]]
                convert = loaders[name]
                arguments[argument] = value if convert is None or value is None else convert(value)
        try:
            return kind(**arguments)
        except TypeError as error:
            lacking = [stored[name] for name, argument in fields.items() if argument not in arguments]
            raise DocumentError(
                f"the document with _id {document.get('_id')!r} does not make a {kind.__qualname__}: {error}",
                path=lacking[0] if lacking else None, hint="give the field a default",
            ) from error  # fmt: skip

    def dump(value: Any) -> dict[str, Any]:
        document = {stored[name]: _plain(getattr(value, name)) for name in fields}
        return _without_empty_id(document)

    return Model(kind, load, dump)


def _pydantic(kind: Any) -> Model[Any]:
    aliases = {field.alias or name for name, field in kind.model_fields.items()}
    renames = "id" in aliases and "_id" not in aliases

    def load(document: Mapping[str, Any]) -> Any:
        if renames and "_id" in document:
            document = {"id" if name == "_id" else name: value for name, value in document.items()}
        try:
            return kind.model_validate(document)
        except ValueError as error:
            raise DocumentError(f"the document does not make a {kind.__qualname__}: {error}") from error

    def dump(value: Any) -> dict[str, Any]:
        document = value.model_dump(by_alias=True)
        if renames:
            document = {"_id" if name == "id" else name: item for name, item in document.items()}
        return _without_empty_id(_plain(document))

    return Model(kind, load, dump)


def _without_empty_id(document: dict[str, Any]) -> dict[str, Any]:
    if "_id" in document and document["_id"] is None:
        del document["_id"]
    return document


def _plain(value: Any) -> Any:
    """Return objects of fielded classes and enums within a value as documents and values."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(type(value), "__attrs_attrs__"):
        return {field.name: _plain(getattr(value, field.name)) for field in type(value).__attrs_attrs__}
    return value


def _loader(hint: Any) -> Converter | None:
    """Return what turns a stored value into what the annotation says, or None where it already is."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        some = [found for found in map(_loader, arguments) if found is not None]
        return some[0] if len(some) == 1 else None
    if origin is typing.Annotated:
        return _loader(arguments[0])
    if origin in (list, tuple, set, frozenset) and arguments:
        inner = _loader(arguments[0])
        if origin is list and inner is None:
            return None
        return partial(_load_sequence, origin, inner)
    if origin is dict and len(arguments) == 2:
        inner = _loader(arguments[1])
        return None if inner is None else partial(_load_mapping, inner)
    if isinstance(hint, type):
        return _class_loader(hint)
    return None


def _class_loader(kind: type) -> Converter | None:
    if issubclass(kind, enum.Enum):
        return kind
    if kind is tuple:
        return tuple
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__"):
        return partial(_load_nested, kind)
    return None


def _load_nested(kind: type, value: Any) -> Any:
    """Make an object of a class below the model; its fields are never renamed."""
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else kind.__attrs_attrs__  # type: ignore[attr-defined]
    hints = typing.get_type_hints(kind)
    arguments = {}
    for field in fields:
        if field.init and field.name in value:
            item, convert = value[field.name], _loader(hints.get(field.name))
            arguments[getattr(field, "alias", field.name)] = item if convert is None or item is None else convert(item)
    return kind(**arguments)


def _load_sequence(kind: Any, inner: Converter | None, values: list[Any]) -> Any:
    return kind(values) if inner is None else kind([value if value is None else inner(value) for value in values])


def _load_mapping(inner: Converter, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value if value is None else inner(value) for name, value in values.items()}
