"""``python -m docdb`` and the command ``docdb``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; return the exit code. Without the extra ``cli`` say how to get it."""
    try:
        from docdb.cli import run
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich", "prompt_toolkit"):
            raise
        print(f"docdb: the command line needs {error.name} (pip install 'docdb-engine[cli]')", file=sys.stderr)
        return 2
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
