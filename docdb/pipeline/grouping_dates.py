"""Dates as ids of groups: what the kernel must know to tell two dates apart as an expression does.

What lives here: ``read_date`` for $dateTrunc, $dateToString and the parts of dates, and ``ZoneDays``, the offsets of a zone by day. What it must not know:
groups. The law are the expressions. Only constants are taken as units, zones, formats; in doubt None comes back, and the expression is asked for each document.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language import expression_date_arithmetic as arithmetic
from docdb.language.expression_core import integer_of
from docdb.language.expression_dates import Zone, moment_of, offset_of, zone_of
from docdb.language.values import is_number

__all__ = ["DATES", "Reading", "ZoneDays", "read_date"]

PARTS, TIMES, CLOCKS, MONTHS = range(4)
YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, MILLISECOND, DAY_OF_YEAR, DAY_OF_WEEK, WEEK, ISO_WEEK, ISO_YEAR, OFFSET = (
    1 << at for at in range(13)
)  # as in the kernel
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_BASE: Final = dt.datetime(2000, 1, 1)
_BASE_DAY: Final = _BASE.weekday()
_MILLISECONDS: Final = {
    "day": 86_400_000,
    "hour": 3_600_000,
    "millisecond": 1,
    "minute": 60_000,
    "second": 1000,
    "week": 604_800_000,
}
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
_WIDEST: Final = 100_000 * 365 * 86_400_000  # of a bin, in milliseconds
_OPERATORS: Final = {
    "$dayOfMonth": DAY, "$dayOfWeek": DAY_OF_WEEK, "$dayOfYear": DAY_OF_YEAR, "$hour": HOUR, "$isoDayOfWeek": DAY_OF_WEEK,
    "$isoWeek": ISO_WEEK, "$isoWeekYear": ISO_YEAR, "$millisecond": MILLISECOND, "$minute": MINUTE, "$month": MONTH,
    "$second": SECOND, "$week": WEEK, "$year": YEAR,
}  # fmt: skip
_SPECIFIERS: Final = {
    "%": 0, "B": MONTH, "G": ISO_YEAR, "H": HOUR, "L": MILLISECOND, "M": MINUTE, "S": SECOND, "U": WEEK, "V": ISO_WEEK, "Y": YEAR,
    "Z": OFFSET, "b": MONTH, "d": DAY, "j": DAY_OF_YEAR, "m": MONTH, "u": DAY_OF_WEEK, "w": DAY_OF_WEEK, "z": OFFSET,
}  # fmt: skip
_ALL: Final = YEAR | MONTH | DAY | HOUR | MINUTE | SECOND | MILLISECOND


@dataclass(frozen=True, slots=True)
class Reading:
    """What tells dates apart: bins of ``width`` from ``base`` (milliseconds, months), or the parts whose bits are set, in a zone."""

    way: int
    zone: Zone
    width: int = 1
    base: int = 0
    parts: int = 0

    def of_kernel(self) -> tuple[Any, ...]:
        """Return it as the kernel takes it."""
        fixed = 0 if self.zone is dt.UTC else self.zone // _MICROSECOND if isinstance(self.zone, dt.timedelta) else None
        days = None if fixed is not None else zone_days(self.zone)
        return "date", self.way, self.width, self.base, self.parts, fixed or 0, days


class ZoneDays:
    """The offsets of a zone, in microseconds, by day.

    A day has one when the clock shows the same at each full hour of UTC: no zone has changed its clock twice within an hour.
    """

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._days: dict[int, int | None] = {}

    def of_day(self, day: int) -> int | None:
        """Return the offset of a day of UTC, by its number since 1970; None when it changes on that day."""
        if day not in self._days:
            if len(self._days) > _MOST_DAYS:
                self._days.clear()
            hours = {self._offset(_EPOCH + dt.timedelta(days=day, hours=hour)) for hour in range(24)}
            last = self._offset(_EPOCH + dt.timedelta(days=day + 1) - _MICROSECOND)
            self._days[day] = last if hours == {last} else None
        return self._days[day]

    def at(self, moment: int) -> int:
        """Return the offset at a moment, microseconds since 1970."""
        return self._offset(_EPOCH + moment * _MICROSECOND)

    def _offset(self, date: dt.datetime) -> int:
        try:
            return offset_of(date, self._zone) // _MICROSECOND
        except QueryError:  # beyond the years 1 to 9999, where the kernel declines
            return 0


_MOST_DAYS: Final = 100_000


@cache
def zone_days(zone: Zone) -> ZoneDays:
    """Return the offsets of a zone, kept for the life of the process."""
    return ZoneDays(zone)


def read_date(name: str, spec: Any) -> tuple[Any, Reading] | None:
    """Return what an expression reads and how, None where it takes the expression itself. The expression has compiled."""
    return DATES[name](name, spec)


def _zone(spec: Mapping[str, Any]) -> Zone | None:
    value = spec.get("timezone", "UTC")
    if type(value) is not str or value.startswith("$"):
        return None
    try:
        return zone_of(value)
    except QueryError:
        return None


def _part(name: str, spec: Any) -> tuple[Any, Reading] | None:
    if isinstance(spec, list):
        (spec,) = spec
    if not isinstance(spec, Mapping):
        spec = {"date": spec}
    zone = _zone(spec)
    return None if "date" not in spec or zone is None else (spec["date"], Reading(PARTS, zone, parts=_OPERATORS[name]))


def _text(name: str, spec: Mapping[str, Any]) -> tuple[Any, Reading] | None:
    zone, form, null = _zone(spec), spec.get("format"), spec.get("onNull")
    if zone is None or (null is not None and (type(null) is not str or null.startswith("$"))):
        return None
    if "format" not in spec:
        return spec["date"], Reading(PARTS, zone, parts=_ALL)
    if type(form) is not str or form.startswith("$"):
        return None
    parts = 0
    for specifier in re.findall(r"%(.?)", form, flags=re.DOTALL):
        if specifier not in _SPECIFIERS:
            return None
        parts |= _SPECIFIERS[specifier]
    return spec["date"], Reading(PARTS, zone, parts=parts)


def _truncated(name: str, spec: Mapping[str, Any]) -> tuple[Any, Reading] | None:
    zone, unit, day = _zone(spec), spec["unit"], spec.get("startOfWeek", "sunday")
    size = spec.get("binSize", 1)
    count = integer_of(size) if is_number(size) else None
    if zone is None or type(unit) is not str or count is None or count < 1:
        return None
    if unit in _MONTHS:
        width = count * _MONTHS[unit]
        return (spec["date"], Reading(MONTHS, zone, width, _BASE.year * 12)) if width <= 100_000_000_000 else None
    width = count * _MILLISECONDS.get(unit, _WIDEST + 1)
    if width > _WIDEST:
        return None
    if unit in ("day", "week"):
        base = _BASE
        if unit == "week":
            try:
                base += dt.timedelta(days=(arithmetic.weekday_of(day) - _BASE_DAY) % 7)
            except QueryError:
                return None
        return spec["date"], Reading(CLOCKS, zone, width, (base.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND)
    return spec["date"], Reading(TIMES, zone, width, (moment_of(_BASE, zone) - _EPOCH) // _MICROSECOND)


DATES: Final[dict[str, Callable[[str, Any], tuple[Any, Reading] | None]]] = {
    **dict.fromkeys(_OPERATORS, _part),
    "$dateToString": _text,
    "$dateTrunc": _truncated,
}
