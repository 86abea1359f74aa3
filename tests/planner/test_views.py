"""The views the planner asks for are those the store has: every method with the same parameters, in both spellings."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from docdb.planner import views
from docdb.store.views import View
from tests.planner.fakes import FakeView

METHODS = [name for name, value in vars(views.View).items() if inspect.isfunction(value) and not name.startswith("_")]


def parameters(owner: Any, name: str) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(getattr(owner, name)).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


@pytest.mark.parametrize("name", METHODS)
def test_the_store_has_what_the_planner_asks_for(name: str) -> None:
    assert parameters(views.View, name) == parameters(View, name)


def test_the_fake_has_it_too() -> None:
    assert [name for name in METHODS if not hasattr(FakeView, name)] == []
