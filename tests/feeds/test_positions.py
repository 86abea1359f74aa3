"""Positions: their text, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from docdb.errors import HistoryLost, UsageError
from docdb.feeds.positions import END, Position

ABOUT = {"database_id": "d1", "epoch": "e1"}


def test_a_position_comes_back_from_its_text() -> None:
    position = Position("d1", "e1", 12, 3)
    assert Position.parse(str(position), ABOUT) == position


def test_a_position_is_taken_as_it_is_and_in_pymongos_form() -> None:
    position = Position("d1", "e1", 12)
    assert Position.parse(position, ABOUT) == Position.parse({"_data": str(position)}, ABOUT) == position
    assert position.place == (12, END)


@pytest.mark.parametrize(
    "text", ["", "x", "d1.e1.1", "d1.e1.1.2.3", "d1.e1.-1.0", "d1.e1.1.x", f"d1.e1.1.{END + 1}", f"d1.e1.{2**63}.0", 7, None, {}, b"d1.e1.1.0", "d1.e1.².0"]
)  # fmt: skip
def test_what_is_no_position_is_refused(text: Any) -> None:
    with pytest.raises(UsageError, match="resume_after"):
        Position.parse(text, ABOUT)


def test_another_database_is_refused() -> None:
    with pytest.raises(UsageError, match="another database"):
        Position.parse("d2.e1.1.0", ABOUT)


def test_another_epoch_is_lost_history() -> None:
    with pytest.raises(HistoryLost, match="before a restore"):
        Position.parse("d1.e0.1.0", ABOUT)
