"""What the kernels are given in the sanitized campaign: the table of their doors.

What lives here: ``DOORS``, by the kernel's name and the door's. What it must not know: sanitizers, processes. An input is one execution. Whether results are
right is told by the other targets, which have a reference.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from docdb._native import codec as codec_kernel
from docdb._native import keys
from tests.fuzz import damage
from tests.fuzz import doors_documents as documents
from tests.fuzz import doors_engine as engine
from tests.fuzz.doors_documents import Batch, Door

__all__ = ["DOORS", "Way"]


class Way(NamedTuple):
    """A door, and where its inputs come from."""

    door: Door
    source: Callable[[Random], list[bytearray]] = damage.documents


def _planted(chance: Random, batch: Batch) -> None:
    """Read a byte too many of each input: what a finding looks like."""
    planted: Any = importlib.import_module("planted")
    for data in batch:
        planted.overrun(data)


DOORS: Final[dict[str, Callable[[], Way]]] = {
    "bell.wait": lambda: Way(engine.bells()),
    "cells.cover_ring": lambda: Way(engine.cover),
    "codec.decode": lambda: Way(documents.each(codec_kernel.decode)),
    "codec.decode_value": lambda: Way(documents.each(codec_kernel.decode_value)),
    "codec.decoders": lambda: Way(
        documents.any_of(
            [
                codec_kernel.Decoder(),
                codec_kernel.FieldsDecoder(("a", "_id", "text", "nested", "0", "")),
                codec_kernel.FieldsDecoder(()),
            ]
        )
    ),
    "codec.encode": lambda: Way(documents.encode),
    "codec.entries": lambda: Way(documents.entry_pairs()),
    "codec.entry_keys": lambda: Way(documents.entry_pairs(), damage.keys),
    "codec.prepare_run": lambda: Way(documents.prepared),
    "columns.fill": lambda: Way(documents.fill),
    "entries.entries": lambda: Way(documents.entries_door()),
    "entries.run": lambda: Way(documents.entry_runs()),
    "grouping.groups": lambda: Way(documents.groups()),
    "grouping.joined": lambda: Way(documents.joined_groups()),
    "joining.join": lambda: Way(documents.join),
    "keys.decode_key": lambda: Way(documents.decode_key, damage.keys),
    "keys.order_key": lambda: Way(documents.each(keys.order_key)),
    "keys.split_components": lambda: Way(documents.split, damage.keys),
    "lmdb_engine.changes": lambda: Way(engine.changes(), damage.few_documents),
    "lmdb_engine.fields": lambda: Way(engine.fields()),
    "lmdb_engine.find": lambda: Way(engine.find, damage.pages),
    "lmdb_engine.points": lambda: Way(engine.points()),
    "lmdb_engine.reads": lambda: Way(engine.engine_reads),
    "lmdb_engine.walk": lambda: Way(engine.walk, damage.pages),
    "planted.overrun": lambda: Way(_planted),
    "predicates.candidates": lambda: Way(documents.candidates()),
    "predicates.queries": lambda: Way(documents.queries()),
    "program.match": lambda: Way(documents.match),
    "program.select": lambda: Way(documents.select),
    "runs.gather": lambda: Way(documents.runs_door),
    "text.entries": lambda: Way(documents.text_entries()),
    "top.firsts": lambda: Way(documents.firsts),
    "top.keys_below": lambda: Way(documents.keys_below),
    "top.sorter": lambda: Way(documents.sorter()),
}
