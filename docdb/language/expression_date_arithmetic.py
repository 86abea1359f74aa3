"""$dateAdd, $dateSubtract, $dateDiff, $dateTrunc.

What lives here: the four, and the table of units. What it must not know: how dates are written as text.
"""

from __future__ import annotations

import calendar
import datetime as dt
from typing import Any, Final

from docdb.language import expression_dates as dates
from docdb.language.expression_core import (
    Constant,
    Maker,
    Scope,
    Term,
    fail,
    folded,
    integer_of,
    is_nullish,
    make_integer,
    named_terms,
)
from docdb.language.values import is_number, type_name

__all__ = ["OPERATORS", "UNITS", "add_units", "truncate", "unit_of"]

_MILLISECONDS: Final = {
    "week": 604_800_000,
    "day": 86_400_000,
    "hour": 3_600_000,
    "minute": 60_000,
    "second": 1000,
    "millisecond": 1,
}
_MONTHS: Final = {"year": 12, "quarter": 3, "month": 1}
UNITS: Final = frozenset({*_MILLISECONDS, *_MONTHS})
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_BASE: Final = dt.datetime(2000, 1, 1)
_MS: Final = dt.timedelta(milliseconds=1)


def unit_of(value: Any) -> str:
    """Return the name of a time unit."""
    if type(value) is not str:
        fail(f"a time unit is text, not {type_name(value)}", 5439013)
    if value not in UNITS:
        fail(f"unknown time unit {value!r}", 9, hint=f"one of {', '.join(sorted(UNITS))}")
    return value


def weekday_of(value: Any) -> int:
    """Return the number of a week's first day, Monday 0."""
    if type(value) is not str:
        fail(f"startOfWeek is text, not {type_name(value)}", 5439015)
    for i, name in enumerate(_WEEKDAYS):
        if value.lower() in (name, name[:3]):
            return i
    return fail(f"unknown day {value!r}", 5439016)


def add_units(date: dt.datetime, unit: str, amount: int, zone: dates.Zone = dt.UTC) -> dt.datetime:
    """Return a date moved by units; days and more keep the wall clock of the zone, months end at their last day."""
    try:
        if unit in ("hour", "minute", "second", "millisecond"):
            return date + dt.timedelta(milliseconds=amount * _MILLISECONDS[unit])
        local = dates.local_of(date, zone)
        if unit in _MILLISECONDS:
            return dates.moment_of(local + dt.timedelta(milliseconds=amount * _MILLISECONDS[unit]), zone)
        months = local.year * 12 + local.month - 1 + amount * _MONTHS[unit]
        year, month = divmod(months, 12)
        day = min(local.day, calendar.monthrange(year, month + 1)[1]) if 1 <= year <= 9999 else local.day
        return dates.moment_of(local.replace(year=year, month=month + 1, day=day), zone)
    except (OverflowError, ValueError):
        fail("the date lies outside the years 1 to 9999", 5166406 if unit in _MILLISECONDS else 5976500)


def _adding(sign: int) -> Maker:
    def make(scope: Scope, spec: Any, name: str) -> Term:
        required = {"startDate": 5166402, "unit": 5166402, "amount": 5166402}
        terms = named_terms(scope, spec, name, required, ("timezone",), 5166400, 5166401)
        zone_term = terms.get("timezone", Constant("UTC"))

        def run(v: dict[str, Any]) -> Any:
            start, unit, amount = (terms[key](v) for key in ("startDate", "unit", "amount"))
            zone_value = zone_term(v)
            if any(is_nullish(value) for value in (start, unit, amount, zone_value)):
                return None
            date = dates.as_date(start, 5166403)
            unit = unit_of(unit)
            whole = integer_of(amount)
            if whole is None or not -(2**63) <= whole < 2**63:
                fail(f"the amount of {name} is a whole number of 64 bits", 5166405)
            zone = dates.zone_of(zone_value)
            return add_units(date, unit, sign * whole, zone or dt.UTC)

        return folded(list(terms.values()), run)

    return make


def _count_units(local: dt.datetime, unit: str, first_day: int) -> int:
    """Return the number of the unit a local date lies in, counted from a fixed moment."""
    if unit in _MONTHS:
        return (local.year * 12 + local.month - 1) // _MONTHS[unit]
    if unit == "week":
        return (local.toordinal() - 1 - first_day) // 7
    return int((local - _BASE) // _MS // _MILLISECONDS[unit])


def _diff(scope: Scope, spec: Any, name: str) -> Term:
    required = {"startDate": 5166303, "endDate": 5166304, "unit": 5166305}
    terms = named_terms(scope, spec, name, required, ("timezone", "startOfWeek"), 5166301, 5166302)
    zone_term, day_term = terms.get("timezone", Constant("UTC")), terms.get("startOfWeek", Constant("sunday"))

    def run(v: dict[str, Any]) -> Any:
        start, end, unit, zone_value, day = (
            term(v) for term in (terms["startDate"], terms["endDate"], terms["unit"], zone_term, day_term)
        )
        if any(is_nullish(value) for value in (start, end, unit, zone_value)) or (unit == "week" and is_nullish(day)):
            return None
        first, last = dates.as_date(start, 5166307), dates.as_date(end, 5166307)
        unit = unit_of(unit)
        first_day = weekday_of(day) if unit == "week" else 0
        zone = dates.zone_of(zone_value) or dt.UTC
        if unit in ("hour", "minute", "second", "millisecond"):
            if unit != "hour":
                zone = dt.UTC
            offset = dates.offset_of(last, zone) - dates.offset_of(first, zone)
            extra = int(offset // _MS // _MILLISECONDS[unit])
        else:
            extra = 0
        found = _count_units(dates.local_of(last, zone), unit, first_day) - _count_units(
            dates.local_of(first, zone), unit, first_day
        )
        return make_integer(found - extra, True)

    return folded(list(terms.values()), run)


def truncate(date: dt.datetime, unit: str, size: int = 1, zone: dates.Zone = dt.UTC, first_day: int = 6) -> dt.datetime:
    """Return the lower bound of the bin of so many units a date lies in; bins are counted from 2000-01-01 in the zone."""
    local = dates.local_of(date, zone)
    try:
        if unit in _MONTHS:
            width = size * _MONTHS[unit]
            months = (local.year * 12 + local.month - 1 - 24000) // width * width + 24000
            return dates.moment_of(dt.datetime(months // 12, months % 12 + 1, 1), zone)
        if unit in ("hour", "minute", "second", "millisecond"):
            base = dates.moment_of(_BASE, zone)
            width = size * _MILLISECONDS[unit]
            return base + dt.timedelta(milliseconds=int((date - base) // _MS) // width * width)
        base = _BASE
        if unit == "week":
            base += dt.timedelta(days=(first_day - _BASE.weekday()) % 7)
        width = size * _MILLISECONDS[unit]
        return dates.moment_of(base + dt.timedelta(milliseconds=int((local - base) // _MS) // width * width), zone)
    except (OverflowError, ValueError):
        fail("the date lies outside the years 1 to 9999", 5439005)


def _trunc(scope: Scope, spec: Any, name: str) -> Term:
    required = {"date": 5439009, "unit": 5439010}
    terms = named_terms(scope, spec, name, required, ("binSize", "timezone", "startOfWeek"), 5439007, 5439008)
    zone_term, day_term = terms.get("timezone", Constant("UTC")), terms.get("startOfWeek", Constant("sunday"))
    size_term = terms.get("binSize", Constant(1))

    def run(v: dict[str, Any]) -> Any:
        value, unit, zone_value, day, size = (
            term(v) for term in (terms["date"], terms["unit"], zone_term, day_term, size_term)
        )
        if any(is_nullish(x) for x in (value, unit, zone_value, size)) or (unit == "week" and is_nullish(day)):
            return None
        date = dates.as_date(value, 5166307)
        unit = unit_of(unit)
        first_day = weekday_of(day) if unit == "week" else 6
        count = integer_of(size) if is_number(size) else None
        if count is None or not -(2**63) <= count < 2**63:
            fail(f"the binSize of {name} is a whole number", 5439017)
        if count < 1:
            fail(f"the binSize of {name} is positive", 5439018)
        if unit in _MONTHS and count > 100_000_000_000 // _MONTHS[unit]:
            fail("the binSize is too large", 5439006)
        if unit in _MILLISECONDS and count > 100_000 * 365 * 86_400_000 // _MILLISECONDS[unit]:
            fail("the binSize is too large", 5439002)
        return truncate(date, unit, count, dates.zone_of(zone_value) or dt.UTC, first_day)

    return folded(list(terms.values()), run)


OPERATORS: Final[dict[str, Maker]] = {
    "$dateAdd": _adding(1),
    "$dateDiff": _diff,
    "$dateSubtract": _adding(-1),
    "$dateTrunc": _trunc,
}
