"""The switch of the kernels: all of them or none."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from docdb import _native

BUILT = f"codec{EXTENSION_SUFFIXES[0]}"


@pytest.mark.parametrize(
    ("files", "complete"),
    [
        (["__init__.py", "codec.pyx", BUILT], True),
        (["codec.pyx", BUILT, "top.pyx", "top.c"], False),
        (["codec.pyx"], False),
        ([BUILT], True),
        (["codec.pyx", "codec.so.old"], False),
    ],
    ids=["all built", "one is missing", "none built", "no sources", "not an extension"],
)
def test_one_kernel_that_was_not_built_switches_all_off(files: list[str], complete: bool) -> None:
    assert _native._complete(files) is complete
