"""The command line: ``docdb VERB PATH ...``, one module a verb.

What lives here: the entry point. What it must not know: anything of docdb that is not public; like every door it uses the public names alone.
"""

from docdb.cli.main import run

__all__ = ["run"]
