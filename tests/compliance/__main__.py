"""Run the conformance cases: ``python -m tests.compliance [--show N] [--skip-tags later] [--out FILE] [topics...]``.

Prints a line per file (cases, loose %, strict %, mark) and ends with 1 when a file stays below its mark.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.compliance.marks import DEFAULT_MARK, LATER_FLOORS, MARKS, TOPICS


def main(arguments: list[str] | None = None) -> int:
    """Run the files of the topics; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.compliance", description=__doc__)
    parser.add_argument("--show", type=int, default=0, help="print the first N failures of each file")
    parser.add_argument("--skip-tags", default="", help="leave out cases with one of these tags (comma list)")
    parser.add_argument("--timeout", type=float, default=5, help="seconds for one case")
    parser.add_argument("--strict", action="store_true", help="also show cases that only fail strictly")
    parser.add_argument("--out", type=argparse.FileType("w"), help="write one JSON line per case that is not strict")
    parser.add_argument("topics", nargs="*", help=f"default: {' '.join(TOPICS)}")
    options = parser.parse_args(arguments)
    from tests.compliance import adapter

    print(f"{'file':28} {'cases':>6} {'loose':>7} {'strict':>7} {'mark':>6}")
    good = True
    for path in _files(adapter.CONFORMANCE / "cases", options.topics or TOPICS):
        good &= _run_file(path, options)
    return 0 if good else 1


def _files(folder: Path, topics: list[str] | tuple[str, ...]) -> Iterator[Path]:
    for topic in topics:
        for name in (topic, f"{topic}_errors"):
            path = folder / f"{name}.jsonl.gz"
            if path.exists():
                yield path


def _run_file(path: Path, options: argparse.Namespace) -> bool:
    name = path.name.removesuffix(".jsonl.gz")
    counts: Counter[str] = Counter()
    for case, verdict in verdicts(path, options.skip_tags.split(","), options.timeout):
        loose, strict = bool(verdict.get("loose")), bool(verdict.get("strict"))
        counts.update(cases=1, loose=loose, strict=strict)
        if strict:
            continue
        shown = not loose or options.strict
        if shown and counts["shown"] < options.show:
            counts["shown"] += 1
            _show(case, verdict)
        if options.out:
            options.out.write(json.dumps({"id": case["id"], "loose": loose, **_brief(verdict)}) + "\n")
    total = max(counts["cases"], 1)
    loose_share, strict_share = 100 * counts["loose"] / total, 100 * counts["strict"] / total
    mark = MARKS.get(name, DEFAULT_MARK)
    if "later" not in options.skip_tags.split(","):
        mark = LATER_FLOORS.get(name, mark)
    verdict_word = "" if loose_share >= mark else "BELOW"
    print(
        f"{name:28} {counts['cases']:6} {loose_share:6.1f}% {strict_share:6.1f}% {mark:5.0f}% {verdict_word}",
        flush=True,
    )
    return loose_share >= mark


def verdicts(path: Path, skipped_tags: list[str], timeout_s: float) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Give each case of a file with the runner's verdict."""
    from tests.compliance.adapter import Adapter, run_cases

    run_cases.PACKAGE = "docdb"
    driver = Adapter()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            case = json.loads(line)
            if case["kind"] != "unified" and not set(skipped_tags) & set(case.get("tags") or ()):
                yield case, _verdict(run_cases, driver, case, timeout_s)


def _verdict(runner: Any, driver: Any, case: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    def expired(*_: object) -> None:
        raise runner.Timeout

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        return dict(runner.run_one(driver, runner.ejson.dec(case)))
    except runner.Timeout:
        return {"status": "timeout"}
    except Exception as error:
        # A case that breaks the runner or the database counts as failed; the next one must still run.
        return {"status": "crash", "why": f"{type(error).__name__}: {error}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _brief(verdict: dict[str, Any]) -> dict[str, str]:
    return {
        "status": verdict["status"],
        "why": str(verdict.get("why", ""))[:300],
        "got": repr(verdict.get("got"))[:300],
    }


def _show(case: dict[str, Any], verdict: dict[str, Any]) -> None:
    expected = json.dumps(case.get("expect", case.get("expect_result")))[:200]
    brief = _brief(verdict)
    print(f"  {case['id']} [{brief['status']}] {brief['why']}\n    expected {expected}\n    got      {brief['got']}")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
