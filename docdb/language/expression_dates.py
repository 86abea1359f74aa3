"""Operators over dates: their parts, and the zones they are read in. Arithmetic, text and assembly: the relatives of this file.

What lives here: zones, what counts as a date, the part operators. What it must not know: documents.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from docdb.errors import QueryError
from docdb.language.expression_core import Constant, Maker, Scope, Term, fail, folded, is_nullish, make_integer
from docdb.language.values import ObjectId, Timestamp, type_name

__all__ = [
    "OPERATORS", "Zone", "as_date", "epoch_date", "local_of", "moment_of", "object_id_date", "offset_of", "zone_of",
]  # fmt: skip

# A place of the world, or a fixed offset: those of MongoDB reach 100:39 hours, those of dt.timezone end below 24.
Zone = dt.tzinfo | dt.timedelta

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_OFFSET: Final = re.compile(r"([+-])(\d{2}):?(\d{2})?\Z", re.ASCII)


def epoch_date(milliseconds: int) -> dt.datetime:
    """Return the date so many milliseconds after 1970; raise QueryError beyond the years 1 to 9999."""
    try:
        return _EPOCH + dt.timedelta(milliseconds=milliseconds)
    except OverflowError as error:
        raise QueryError("the date lies outside the years 1 to 9999", code=241) from error


@lru_cache(256)
def _zone(name: str) -> Zone:
    if name in ("UTC", "GMT"):
        return dt.UTC
    match = _OFFSET.match(name)
    if match:
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        return dt.timedelta(minutes=-minutes if match[1] == "-" else minutes) if minutes else dt.UTC
    try:
        if not name or name.startswith(("/", ".")) or ".." in name:
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise QueryError(
            f"unknown time zone {name!r}", code=40485, hint="an Olson name, or an offset such as +02:00"
        ) from error


def zone_of(value: Any) -> Zone | None:
    """Return the zone a value names, None for null."""
    if is_nullish(value):
        return None
    if type(value) is not str:
        fail(f"a time zone is text, not {type_name(value)}", 40517)
    return _zone(value)


def local_of(date: dt.datetime, zone: Zone) -> dt.datetime:
    """Return the wall clock of a zone at a moment, without a zone."""
    try:
        if isinstance(zone, dt.timedelta):
            return date.replace(tzinfo=None) + zone
        return date.astimezone(zone).replace(tzinfo=None)
    except OverflowError as error:
        raise QueryError("the local date lies outside the years 1 to 9999", code=241) from error


def moment_of(local: dt.datetime, zone: Zone) -> dt.datetime:
    """Return the moment of a wall clock in a zone; raises OverflowError beyond the years 1 to 9999."""
    if isinstance(zone, dt.timedelta):
        return (local - zone).replace(tzinfo=dt.UTC)
    return local.replace(tzinfo=zone).astimezone(dt.UTC)


def offset_of(date: dt.datetime, zone: Zone) -> dt.timedelta:
    """Return how far the wall clock of a zone is ahead of UTC at a moment."""
    return local_of(date, zone) - date.replace(tzinfo=None)


def object_id_date(value: ObjectId) -> dt.datetime:
    """Return the second an ObjectId was made; the field is a signed 32 bit number to MongoDB."""
    return epoch_date(int.from_bytes(value.binary[:4], "big", signed=True) * 1000)


def as_date(value: Any, code: int = 16006) -> dt.datetime:
    """Return the date a date, timestamp or ObjectId stands for."""
    if type(value) is dt.datetime:
        return value
    if type(value) is ObjectId:
        return object_id_date(value)
    if type(value) is Timestamp:
        return epoch_date(value.time * 1000)
    return fail(f"a date is wanted, not {type_name(value)}", code)


def _part(read: Callable[[dt.datetime], int], long: bool = False) -> Maker:
    def make(scope: Scope, spec: Any, name: str) -> Term:
        zone: Term = Constant("UTC")
        if isinstance(spec, list):
            if len(spec) != 1:
                fail(f"{name} takes one argument, not {len(spec)}", 40536)
            spec = spec[0]
        elif isinstance(spec, dict) and not next(iter(spec), "").startswith("$"):
            for key in spec:
                if key not in ("date", "timezone"):
                    fail(f"{name} has no argument {key!r}", 40535)
            if "date" not in spec:
                fail(f"{name} needs 'date'", 40539)
            zone = scope.compile(spec["timezone"]) if "timezone" in spec else zone
            spec = spec["date"]
        source = scope.compile(spec)

        def run(v: dict[str, Any]) -> Any:
            value = source(v)
            if is_nullish(value):
                return None
            place = zone_of(zone(v))
            return None if place is None else make_integer(read(local_of(as_date(value), place)), long)

        return folded([source, zone], run)

    return make


def iso_week_year(date: dt.datetime) -> int:
    """Return the year of the ISO week."""
    return date.isocalendar().year


def week_of_year(date: dt.datetime) -> int:
    """Return the week, 0 to 53, weeks beginning on Sunday."""
    return int(date.strftime("%U"))


OPERATORS: Final[dict[str, Maker]] = {
    "$dayOfMonth": _part(lambda date: date.day),
    "$dayOfWeek": _part(lambda date: date.isoweekday() % 7 + 1),
    "$dayOfYear": _part(lambda date: date.timetuple().tm_yday),
    "$hour": _part(lambda date: date.hour),
    "$isoDayOfWeek": _part(lambda date: date.isoweekday()),
    "$isoWeek": _part(lambda date: date.isocalendar().week),
    "$isoWeekYear": _part(iso_week_year, True),
    "$millisecond": _part(lambda date: date.microsecond // 1000),
    "$minute": _part(lambda date: date.minute),
    "$month": _part(lambda date: date.month),
    "$second": _part(lambda date: date.second),
    "$week": _part(week_of_year),
    "$year": _part(lambda date: date.year),
}
