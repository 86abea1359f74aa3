"""A pipeline's plan as a tree: the access path, the steps behind it in the order the documents pass them, what was moved and what is read.

What lives here: ``plan_tree``. What it must not know: databases, verbs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ["plan_tree"]

Node = tuple[str, Sequence[Any]]  # a line, and the nodes below it
_WRITING: Final = ("$merge", "$out")  # what explain leaves out


def plan_tree(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of what ``explain()`` of a pipeline returned.

    >>> plan = {"collection": "users", "access": "FullScan", "pipeline": ["$group"], "stored": [], "kernel": [], "fields": ["age"], "optimiser": []}
    >>> print("\\n".join(plan_tree(plan)))
    users
    ├── FullScan
    └── $group
    fields read: age
    """
    yield str(plan["collection"])
    yield from _drawn(_steps(plan), "")
    for note in plan["optimiser"]:
        yield f"optimiser: {note}"
    fields = plan["fields"]
    yield f"fields read: {'all' if fields is None else ', '.join(fields) or 'none'}"
    if "advice" in plan:
        yield f"would help: {plan['advice']}"


def _drawn(nodes: Sequence[Node], margin: str) -> Iterator[str]:
    for at, (line, below) in enumerate(nodes):
        last = at == len(nodes) - 1
        yield f"{margin}{'└── ' if last else '├── '}{line}"
        yield from _drawn(below, f"{margin}{'    ' if last else '│   '}")


def _steps(plan: Mapping[str, Any]) -> list[Node]:
    """Return the path and the steps. A path whose documents a kernel takes as they are stored has no figures of its own."""
    executed = list(plan.get("executed", []))
    stored = " + ".join(plan["stored"])
    own = executed.pop(0) if executed and executed[0]["stage"] == plan["access"] else None
    steps: list[Node] = [(_named(_path(plan), own), _about_path(plan))]
    if "executed" in plan:
        steps += [(_named(_in_kernel(step["stage"], stored), step), ()) for step in executed]
        steps += [(f"{name}: not run", ()) for name in plan["pipeline"] if name in _WRITING]
    else:
        behind = plan["pipeline"][len(plan["stored"]) :]
        steps += [(_in_kernel(name, stored), ()) for name in ([stored] if stored else []) + behind]
    return steps


def _in_kernel(name: str, stored: str) -> str:
    return f"{name} (stored bytes)" if name == stored else name


def _named(name: str, step: Mapping[str, Any] | None) -> str:
    if step is None:
        return name
    rows = step["rows"]
    return f"{name}: {rows} {'row' if rows == 1 else 'rows'}, {step['ms']:.2f} ms"


def _path(plan: Mapping[str, Any]) -> str:
    index = plan.get("index")
    return str(plan["access"]) + (f" on {index}" if index else "")


def _about_path(plan: Mapping[str, Any]) -> list[Node]:
    """Return bounds, parts, figures and what the path does besides reading."""
    bounds = [(f"{name}: {', '.join(ranges)}", ()) for name, ranges in plan.get("bounds", {}).items()]
    found: list[Node] = [(_path(part), _about_path(part)) for part in plan.get("parts", ())]
    if bounds:
        found.insert(0, ("bounds", bounds))
    if "documents_examined" in plan:
        found.append((f"examined: {plan['entries_examined']} entries, {plan['documents_examined']} documents", ()))
    if plan.get("filter") == "residual":
        kernel = "in the kernel" if "filter" in plan["kernel"] else "by the matcher"
        found.append((f"filter: {'partly ' if plan['program'] == 'partial' else ''}{kernel}", ()))
    if plan.get("sort", "none") != "none":
        kernels = {"sort": "in the kernel", "top": "first ones in the kernel"}
        order = next((text for name, text in kernels.items() if name in plan["kernel"]), plan["sort"])
        within = f", within equal {', '.join(plan['sorted_by_index'])}" if "sorted_by_index" in plan else ""
        found.append((f"sort: {order}{within}", ()))
    return found
