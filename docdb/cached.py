"""A property that is made once an object.

What lives here: ``cached_property``. What it must not know: of what.

Python's own, before 3.12, holds a lock of the whole class while one is made: a process forked in that moment by another thread waits for it without end.
This one has none; two threads that come at once both make the value, and one of the two, alike, is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["cached_property"]

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801  # as in functools
    """Call the function at the first look, and keep what it returns in the object's ``__dict__``, which is looked into first from then on."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._name = ""
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> cached_property[T]: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> cached_property[T] | T:
        if instance is None:
            return self
        found: T = instance.__dict__.setdefault(self._name, self._make(instance))
        return found
