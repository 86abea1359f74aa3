"""10,000 random steps on all engines against the model; each failure names its engine and seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.conftest import native_or_skip
from tests.machine import transactions
from tests.machine.driver import run

ROOT = Path(__file__).resolve().parents[2]
STEPS = 1_000
SEEDS = {"memory": range(1, 5), "lmdb": range(11, 14), "native": range(21, 24)}


@pytest.mark.parametrize(
    ("engine", "seed"),
    [(engine, seed) for engine, seeds in SEEDS.items() for seed in seeds],
    ids=lambda value: str(value),
)
def test_the_database_does_what_the_model_does(engine: str, seed: int) -> None:
    assert engine != "native" or native_or_skip()
    run(engine, seed, STEPS)


@pytest.mark.parametrize(("engine", "seed"), [("memory", 41), ("lmdb", 42), ("native", 43)], ids=str)
def test_a_transaction_does_what_the_model_does(engine: str, seed: int) -> None:
    assert engine != "native" or native_or_skip()
    transactions.run(engine, seed, 500)


def test_the_pure_forms_do_what_the_model_does() -> None:
    command = [sys.executable, "-m", "tests.machine.driver", "--seed", "31", "--steps", "600", "--each", "300"]
    done = subprocess.run(
        [*command, "--engines", "memory,lmdb"], cwd=ROOT, env=os.environ | {"DOCDB_PURE": "1"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
