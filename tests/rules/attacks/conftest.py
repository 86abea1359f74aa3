"""What the attacks share: a stage for each attack, kept while its tests run, and an event loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rules.attacks.stage import Stage
from tests.rules.attacks.twin import Loop


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, loop: Loop) -> Iterator[Stage]:
    """The databases of the attack that the test is parametrised with."""
    found = Stage(request.param)
    yield found
    assert found.close(loop) == []


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """An event loop on a thread."""
    found = Loop()
    yield found
    found.close()
