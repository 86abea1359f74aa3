"""Dates made from parts and from text, and taken apart again: $dateFromParts, $dateToParts, $dateFromString, $dateToString.

What lives here: the four, the format specifiers, the free form of ``read_date``. What it must not know: documents.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any, Final

from docdb.errors import QueryError
from docdb.language.expression_core import (
    Constant,
    Maker,
    Scope,
    Term,
    fail,
    folded,
    integer_of,
    is_nullish,
    named_terms,
)
from docdb.language.expression_dates import Zone, as_date, local_of, moment_of, offset_of, week_of_year, zone_of
from docdb.language.values import is_number, type_name

__all__ = ["OPERATORS", "read_date"]

_MONTHS: Final = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_ISO: Final = re.compile(
    r"(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})"
    r"(?:[T ](?P<hour>\d{1,2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?(?:\d{2})?)?\Z",
    re.ASCII | re.IGNORECASE,
)
_LOOSE: Final = (
    re.compile(r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})(?P<rest>.*)\Z", re.ASCII),
    re.compile(r"(?P<year>\d{4})[/-](?P<month>\d{1,2})[/-](?P<day>\d{1,2})(?P<rest>.*)\Z", re.ASCII),
    re.compile(
        r"(?:[a-z]{3,9},?\s+)?(?P<name>[a-z]{3,9})\.?\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>\d{4})(?P<rest>.*)\Z",
        re.I,
    ),
    re.compile(
        r"(?:[a-z]{3,9},?\s+)?(?P<day>\d{1,2})[ -](?P<name>[a-z]{3,9})\.?,?[ -](?P<year>\d{4})(?P<rest>.*)\Z", re.I
    ),
    re.compile(r"(?P<day>\d{1,2})[.-](?P<month>\d{1,2})[.-](?P<year>\d{4})(?P<rest>.*)\Z", re.ASCII),
)
_AROUND: Final = " \t\n\v\f\r\0\u00a0"
_TIME: Final = re.compile(
    r"[T,\s]*(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d{1,9}))?)?\s*(?P<half>am|pm)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?(?:\d{2})?)?\s*\Z",
    re.I | re.ASCII,
)


def _zone(text: str | None, default: Zone) -> Zone:
    """Return the zone a date's text names, the default for none; beside another zone than UTC it may name none."""
    if not text:
        return default
    if default is not dt.UTC:
        fail(f"the date names the zone {text!r}, and another stands beside it", 241)
    return zone_of("UTC" if text.upper() == "Z" else text.upper()) or default


def _month_of(name: str) -> int:
    for i, month in enumerate(_MONTHS):
        if name.lower() in (month, month[:3]) or (month == "september" and name.lower() == "sept"):
            return i + 1
    return fail(f"{name!r} is no month", 241)


def read_date(text: str, zone: Zone) -> dt.datetime:
    """Return the date a text stands for, in the zone when it names none; raise QueryError 241 when it is none."""
    body = text.strip(_AROUND)
    match = _ISO.match(body)
    found: dict[str, Any] = match.groupdict() if match else {}
    if not match:
        for pattern in _LOOSE:
            match = pattern.match(body)
            time = _TIME.match(match["rest"]) if match else None
            if match and time:
                found = {**match.groupdict(), **time.groupdict()}
                break
        else:
            fail(f"cannot read a date in {text!r}", 241)
    month = _month_of(found["name"]) if found.get("name") else int(found["month"])
    hour = int(found["hour"] or 0)
    if found.get("half"):
        hour = hour % 12 + (12 if found["half"].lower() == "pm" else 0)
    fraction = int((found["fraction"] or "0").ljust(6, "0")[:3]) * 1000
    try:
        day = dt.datetime(int(found["year"]), month, int(found["day"]))
        extra = dt.timedelta(hours=1) if hour == 24 else dt.timedelta()
        time_of_day: dict[str, Any] = {
            "minute": int(found["minute"] or 0),
            "second": int(found["second"] or 0),
            "microsecond": fraction,
        }
        return moment_of(day.replace(hour=min(hour, 23), **time_of_day) + extra, _zone(found["zone"], zone))
    except (ValueError, OverflowError) as error:
        raise QueryError(f"cannot read a date in {text!r}", code=241) from error


# specifier -> (pattern of what it reads, name of the part)
_READERS: Final[dict[str, tuple[str, str]]] = {
    "B": (r"[A-Za-z]+", "name"), "G": (r"\d{4}", "iso_year"), "H": (r"\d{2}", "hour"), "L": (r"\d{1,3}", "millisecond"),
    "M": (r"\d{2}", "minute"), "S": (r"\d{2}", "second"), "V": (r"\d{1,2}", "iso_week"), "Y": (r"\d{4}", "year"),
    "Z": (r"[+-]\d+", "offset"), "b": (r"[A-Za-z]{3}", "name"), "d": (r"\d{1,2}", "day"), "j": (r"\d{1,3}", "ordinal"),
    "m": (r"\d{1,2}", "month"), "u": (r"[1-7]", "iso_day"), "z": (r"Z|[+-]\d{2}:?\d{2}|[A-Za-z/_]+", "zone"),
}  # fmt: skip


def _pattern_of(form: str) -> re.Pattern[str]:
    parts, at = [], 0
    while at < len(form):
        if form[at] != "%":
            parts.append(re.escape(form[at]))
            at += 1
            continue
        name = form[at + 1 : at + 2]
        if name == "%":
            parts.append("%")
        elif name in _READERS:
            pattern, key = _READERS[name]
            parts.append(f"(?P<{key}>{pattern})")
        else:
            fail(f"unknown format specifier '%{name}'", 18536 if name else 18535)
        at += 2
    try:
        return re.compile("".join(parts) + r"\Z", re.ASCII)
    except re.error as error:
        raise QueryError("a format names each part once", code=241) from error


def _read_with(text: str, form: str, zone: Zone) -> dt.datetime:
    match = _pattern_of(form).match(text)
    if match is None:
        fail(f"{text!r} does not have the format {form!r}", 241)
    found = {key: value for key, value in match.groupdict().items() if value is not None}
    if "zone" in found:
        zone = _zone(found["zone"], zone)
    try:
        if "iso_year" in found or "iso_week" in found:
            day = dt.datetime.fromisocalendar(
                int(found["iso_year"]), int(found.get("iso_week", 1)), int(found.get("iso_day", 1))
            )
        elif "ordinal" in found:
            day = dt.datetime(int(found["year"]), 1, 1) + dt.timedelta(days=int(found["ordinal"]) - 1)
        else:
            month = _month_of(found["name"]) if "name" in found else int(found.get("month", 1))
            day = dt.datetime(int(found["year"]), month, int(found.get("day", 1)))
        clock: dict[str, Any] = {key: int(found.get(key, 0)) for key in ("hour", "minute", "second")}
        clock["microsecond"] = int(found.get("millisecond", 0)) * 1000
        if "offset" in found:
            zone = dt.timedelta(minutes=int(found["offset"]))
        return moment_of(day.replace(**clock), zone)
    except (ValueError, KeyError, OverflowError) as error:
        raise QueryError(f"{text!r} with the format {form!r} is no date", code=241) from error


def _from_string(scope: Scope, spec: Any, name: str) -> Term:
    known = ("format", "timezone", "onError", "onNull")
    terms = named_terms(scope, spec, name, {"dateString": 40542}, known, 40540, 40541)
    zone_term, on_null, on_error = (
        terms.get("timezone", Constant("UTC")),
        terms.get("onNull", Constant(None)),
        terms.get("onError"),
    )

    def run(v: dict[str, Any]) -> Any:
        text = terms["dateString"](v)
        form = terms["format"](v) if "format" in terms else ""
        if not is_nullish(form) and type(form) is not str:
            fail(f"the format of {name} is text, not {type_name(form)}", 40684)
        zone_value = zone_term(v)
        if not is_nullish(zone_value):
            zone_of(zone_value)
        if is_nullish(text):
            return on_null(v)
        zone = zone_of(zone_value)
        if zone is None or is_nullish(form):
            return None
        try:
            if type(text) is not str:
                fail(f"the dateString of {name} is text, not {type_name(text)}", 241)
            return _read_with(text, form, zone) if form else read_date(text, zone)
        except QueryError as error:
            if on_error is None or error.code != 241:
                raise
            return on_error(v)

    return folded(list(terms.values()), run)


def _offset(date: dt.datetime, offset: dt.timedelta) -> str:
    return str(offset // dt.timedelta(minutes=1))


def _clock_offset(date: dt.datetime, offset: dt.timedelta) -> str:
    minutes = offset // dt.timedelta(minutes=1)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"


_WRITERS: Final[dict[str, Callable[[dt.datetime, dt.timedelta], str]]] = {
    "%": lambda d, o: "%", "B": lambda d, o: _MONTHS[d.month - 1].capitalize(), "G": lambda d, o: f"{d.isocalendar().year:04d}",
    "H": lambda d, o: f"{d.hour:02d}", "L": lambda d, o: f"{d.microsecond // 1000:03d}", "M": lambda d, o: f"{d.minute:02d}",
    "S": lambda d, o: f"{d.second:02d}", "U": lambda d, o: f"{week_of_year(d):02d}", "V": lambda d, o: f"{d.isocalendar().week:02d}",
    "Y": lambda d, o: f"{d.year:04d}", "Z": _offset,
    "b": lambda d, o: _MONTHS[d.month - 1][:3].capitalize(), "d": lambda d, o: f"{d.day:02d}", "j": lambda d, o: f"{d.timetuple().tm_yday:03d}",
    "m": lambda d, o: f"{d.month:02d}", "u": lambda d, o: str(d.isoweekday()), "w": lambda d, o: str(d.isoweekday() % 7 + 1),
    "z": _clock_offset,
}  # fmt: skip


def format_date(date: dt.datetime, offset: dt.timedelta, form: str) -> str:
    """Return a local date, so far ahead of UTC, written as the format asks."""

    def write(match: re.Match[str]) -> str:
        writer = _WRITERS.get(match[1])
        return (
            writer(date, offset)
            if writer
            else fail(f"unknown format specifier '%{match[1]}'", 18536 if match[1] else 18535)
        )

    return re.sub(r"%(.?)", write, form, flags=re.DOTALL)


def _to_string(scope: Scope, spec: Any, name: str) -> Term:
    terms = named_terms(scope, spec, name, {"date": 18628}, ("format", "timezone", "onNull"), 18629, 18534)
    zone_term, on_null = terms.get("timezone", Constant("UTC")), terms.get("onNull", Constant(None))

    def run(v: dict[str, Any]) -> Any:
        form = terms["format"](v) if "format" in terms else None
        if "format" in terms and not is_nullish(form) and type(form) is not str:
            fail(f"the format of {name} is text, not {type_name(form)}", 18533)
        value, zone_value = terms["date"](v), zone_term(v)
        zone = zone_of(zone_value)
        if is_nullish(value):
            return on_null(v)
        if zone is None or ("format" in terms and is_nullish(form)):
            return None
        date = as_date(value)
        default = "%Y-%m-%dT%H:%M:%S.%L" + ("Z" if zone is dt.UTC else "")
        return format_date(local_of(date, zone), offset_of(date, zone), str(form) if "format" in terms else default)

    return folded(list(terms.values()), run)


def _to_parts(scope: Scope, spec: Any, name: str) -> Term:
    terms = named_terms(scope, spec, name, {"date": 40522}, ("timezone", "iso8601"), 40524, 40520)
    zone_term, iso_term = terms.get("timezone", Constant("UTC")), terms.get("iso8601", Constant(False))

    def run(v: dict[str, Any]) -> Any:
        value, iso = terms["date"](v), iso_term(v)
        zone = zone_of(zone_term(v))
        if zone is None or is_nullish(iso) or is_nullish(value):
            return None
        if type(iso) is not bool:
            fail(f"iso8601 of {name} is a bool, not {type_name(iso)}", 40521)
        date = local_of(as_date(value), zone)
        clock = {
            "hour": date.hour,
            "minute": date.minute,
            "second": date.second,
            "millisecond": date.microsecond // 1000,
        }
        if iso:
            year, week, day = date.isocalendar()
            return {"isoWeekYear": year, "isoWeek": week, "isoDayOfWeek": day, **clock}
        return {"year": date.year, "month": date.month, "day": date.day, **clock}

    return folded(list(terms.values()), run)


_CALENDAR: Final = ("month", "day")
_ISO_PARTS: Final = ("isoWeek", "isoDayOfWeek")
_CLOCK: Final = ("hour", "minute", "second", "millisecond")


def _from_parts(scope: Scope, spec: Any, name: str) -> Term:
    known = ("year", "isoWeekYear", *_CALENDAR, *_ISO_PARTS, *_CLOCK, "timezone")
    terms = named_terms(scope, spec, name, {}, known, 40519, 40518)
    if "year" not in terms and "isoWeekYear" not in terms:
        fail("$dateFromParts needs 'year' or 'isoWeekYear'", 40516)
    iso = "isoWeekYear" in terms
    for key in ("year", *_CALENDAR) if iso else _ISO_PARTS:
        if key in terms:
            fail(
                f"$dateFromParts cannot mix {key} with {'isoWeekYear' if iso else 'year'}",
                40489 if not iso or key == "year" else 40525,
            )
    zone_term = terms.pop("timezone", Constant("UTC"))

    def run(v: dict[str, Any]) -> Any:
        parts = {key: _date_part(name, key, term(v)) for key, term in terms.items()}
        zone = zone_of(zone_term(v))
        if zone is None or None in parts.values():
            return None
        return _assembled({key: value for key, value in parts.items() if value is not None}, iso, zone)

    return folded([*terms.values(), zone_term], run)


def _date_part(name: str, key: str, value: Any) -> int | None:
    if is_nullish(value):
        return None
    whole = integer_of(value) if is_number(value) else None
    if whole is None or not -(2**31) <= whole < 2**31:
        fail(f"{key} of {name} is a whole number", 40515)
    if key in ("year", "isoWeekYear"):
        if not 1 <= whole <= 9999:
            fail(f"{key} of {name} is 1 to 9999", 40523)
    elif not -32768 <= whole <= 32767 and key not in ("second", "millisecond"):
        fail(f"{key} of {name} is -32768 to 32767", 31034)
    return whole


def _assembled(parts: dict[str, int], iso: bool, zone: Zone) -> dt.datetime:
    try:
        if iso:
            first = dt.datetime.fromisocalendar(parts["isoWeekYear"], 1, 1)
            local = first + dt.timedelta(weeks=parts.get("isoWeek", 1) - 1, days=parts.get("isoDayOfWeek", 1) - 1)
        else:
            months = parts["year"] * 12 + parts.get("month", 1) - 1
            local = dt.datetime(months // 12, months % 12 + 1, 1) + dt.timedelta(days=parts.get("day", 1) - 1)
        clock = dict(
            zip(("hours", "minutes", "seconds", "milliseconds"), (parts.get(key, 0) for key in _CLOCK), strict=True)
        )
        return moment_of(local + dt.timedelta(**clock), zone)
    except (ValueError, OverflowError):
        fail("the date lies outside the years 1 to 9999", 40523)


OPERATORS: Final[dict[str, Maker]] = {
    "$dateFromParts": _from_parts,
    "$dateFromString": _from_string,
    "$dateToParts": _to_parts,
    "$dateToString": _to_string,
}
