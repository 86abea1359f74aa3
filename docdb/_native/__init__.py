"""The switch of the compiled kernels.

What lives here: ``AVAILABLE`` and the four kernels every store needs. What it must not know: what they are used for. ``DOCDB_PURE=1`` in the environment,
or a kernel that was not built, leaves docdb on its pure Python forms.
"""

import os
from typing import Any

__all__ = ["AVAILABLE", "codec", "entries", "keys", "runs"]

AVAILABLE: bool = os.environ.get("DOCDB_PURE") != "1"
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
