"""``python -m benchmarks list | run | compare | plot``: the benchmark suite.

python -m benchmarks list                             what can be run
python -m benchmarks run                              the rows of the table, on 100,000 documents
python -m benchmarks run get range --documents 20000  two of them, on fewer
python -m benchmarks run ycsb nobench --json now.json whole groups, kept as JSON
python -m benchmarks run rows --write                 put the table into RESULTS.md
python -m benchmarks compare before.json now.json     two runs, as ratios
python -m benchmarks run growth --documents 10000000 --json growth.json
python -m benchmarks plot growth.json                 the curves of a run as pictures in plots/
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.workloads import GROUPS, Settings

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    chosen = _parser().parse_args(arguments)
    chosen.action(chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="list | run | compare | plot")
    listing = verbs.add_parser("list", help="show groups and workloads")
    listing.set_defaults(action=_list)
    running = verbs.add_parser("run", help="run workloads, groups or both")
    running.add_argument("names", nargs="*", default=["rows"], metavar="NAME", help="default: rows")
    running.add_argument("--documents", type=int, help="how many documents (each group has its own default)")
    running.add_argument("--seed", type=int, default=1)
    running.add_argument("--json", type=Path, metavar="FILE", help="keep the run as JSON")
    running.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    running.set_defaults(action=_run)
    comparing = verbs.add_parser("compare", help="compare two runs kept as JSON")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("now", type=Path)
    comparing.set_defaults(action=lambda c: print(report.compare(report.load(c.before), report.load(c.now))))
    plotting = verbs.add_parser("plot", help="draw the curves of a run kept as JSON")
    plotting.add_argument("results", type=Path)
    plotting.add_argument("--folder", type=Path, default=Path(__file__).with_name("plots"))
    plotting.set_defaults(action=_plot)
    return parser


def _plot(chosen: argparse.Namespace) -> None:
    from benchmarks import plots  # matplotlib is needed here alone

    for path in plots.draw(report.load(chosen.results), chosen.folder):
        print(path)


def _list(chosen: argparse.Namespace) -> None:
    for group in GROUPS.values():
        print(f"{group.name}: {group.about} ({group.documents:,} documents)")
        for name, workload in group.workloads().items():
            print(f"    {name:16} {(workload.__doc__ or '').strip().splitlines()[0]}")


def _run(chosen: argparse.Namespace) -> None:
    wanted = _wanted(chosen.names)
    done: dict[str, list[report.Row]] = {}
    about: dict[str, Any] = {}
    for group, names in wanted.items():
        settings = Settings(chosen.documents or group.documents, chosen.seed)
        about = report.facts(seed=chosen.seed)
        print(f"... {group.name}", file=sys.stderr)
        done[group.name], notes = group.run(settings, names)
        line = ", ".join(f"{key} {value}" for key, value in about.items() if key not in ("system", "seed"))
        text = f"{line}, {settings.documents:,} documents, seed {settings.seed}\n\n{report.table(done[group.name])}"
        text += "".join(f"\n\n{note}" for note in notes)
        print(f"{text}\n")
        if chosen.write:
            report.write_table(group.name, text)
    if chosen.json is not None:
        report.save(chosen.json, about, done)


def _wanted(names: Sequence[str]) -> dict[Any, list[str]]:
    """Return group -> workloads; an unknown name ends the program."""
    found: dict[Any, list[str]] = {}
    for name in names:
        if name in GROUPS:
            found[GROUPS[name]] = list(GROUPS[name].workloads())
            continue
        group = next((group for group in GROUPS.values() if name in group.workloads()), None)
        if group is None:
            sys.exit(f"benchmarks: there is no workload {name!r} (python -m benchmarks list)")
        found.setdefault(group, []).append(name)
    return found


if __name__ == "__main__":
    main()
