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

# Floors of runs that include the cases tagged "later" (wildcard indexes, cluster clock), where they lie below the marks.
LATER_FLOORS: Final[dict[str, float]] = {"find_command": 96.0, "indexes": 60.0, "indexes_errors": 85.0}

# Parts of the ids of cases answered differently on purpose (the reasons are in decided.md).
DECIDED: Final = (
    "cluster_time", "dollar_prefix", "dollar_prefixed", "eq_nested_gt_operator_as_literal", "nested_dollar_field",
    "special_dollar_in_key", "test_wildcard_",
)  # fmt: skip
