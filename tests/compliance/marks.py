"""The share of cases each file must pass, and the files that count.

What lives here: tables only. ``decided.md`` lists the cases answered differently on purpose.
"""

from __future__ import annotations

from typing import Final

TOPICS: Final = (
    "collation", "count_distinct", "find_command", "indexes", "projection", "query", "update", "write_commands",
)  # fmt: skip
DEFAULT_MARK: Final = 98.0
MARKS: Final[dict[str, float]] = {"collation": 60.0, "collation_errors": 60.0}  # other files: DEFAULT_MARK
