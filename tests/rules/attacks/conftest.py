"""What the attacks share: a stage for each attack, kept while its tests run, and an event loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import LASTING
from tests.rules.attacks.stage import Attack, Stage
from tests.rules.attacks.twin import Loop


class Kept:
    """The stage of the attack whose turn it is. (A fixture of a module would be made anew for each entry point: pytest gives parameters that are not
    all fixtures the scope of a test.)"""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._stage: Stage | None = None
        self._failures = 0

    def of(self, attack: Attack, failures: int) -> Stage:
        """Return the attack's databases, new ones where more tests have failed: one that fails leaves what it did."""
        if self._stage is None or self._stage.attack is not attack or self._failures != failures:
            self.close()
            self._stage, self._failures = Stage(attack), failures
            LASTING.update(self._stage.plays.values())
        return self._stage

    def close(self) -> None:
        """Close the databases; the checker finds nothing wrong with them."""
        stage, self._stage = self._stage, None
        assert stage is None or stage.close(self._loop) == []


@pytest.fixture(scope="module")
def kept(loop: Loop) -> Iterator[Kept]:
    """Keep a stage from test to test."""
    found = Kept(loop)
    yield found
    found.close()


@pytest.fixture
def stage(request: pytest.FixtureRequest, kept: Kept) -> Stage:
    """The databases of the attack that the test is parametrised with, as they were in the beginning."""
    return kept.of(request.param, request.session.testsfailed)


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """An event loop on a thread."""
    found = Loop()
    yield found
    found.close()
