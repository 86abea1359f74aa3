"""The switch of the compiled kernels.

What lives here: ``AVAILABLE`` and the four kernels every store needs. What it must not know: what they are used for. ``DOCDB_PURE=1`` in the environment,
or one kernel that was not built, leaves docdb on its pure Python forms: kernels of two versions would not agree.
"""

import os
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Any

__all__ = ["AVAILABLE", "codec", "entries", "keys", "runs"]


def _complete(files: list[str]) -> bool:
    """Tell whether each source among the files of this folder has its extension beside it."""
    built = {name.partition(".")[0] for name in files if name.endswith(tuple(EXTENSION_SUFFIXES))}
    return built.issuperset(name[:-4] for name in files if name.endswith(".pyx"))


AVAILABLE: bool = os.environ.get("DOCDB_PURE") != "1" and _complete(os.listdir(os.path.dirname(__file__)))
codec: Any
entries: Any
keys: Any
runs: Any

if AVAILABLE:
    try:
        from docdb._native import codec, entries, keys, runs
    except ImportError:
        AVAILABLE = False
if not AVAILABLE:
    codec = entries = keys = runs = None
