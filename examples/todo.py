"""A list of things to do, kept in a folder: the fluent face in one screen.

python examples/todo.py add "write the guide" --due 2026-12-01 --tag docs
python examples/todo.py list --tag docs
python examples/todo.py done guide
python examples/todo.py clear
"""

import argparse
import datetime as dt

import docdb
from docdb import command as _


def main() -> None:
    """Do one thing with the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["add", "list", "done", "clear"])
    parser.add_argument("text", nargs="?", default="")
    parser.add_argument("--due", type=dt.date.fromisoformat)
    parser.add_argument("--tag", action="append", default=[])
    parser.add_argument("--at", default="todo.docdb", help="the folder of the database")
    asked = parser.parse_args()
    with docdb.open(asked.at) as db:
        tasks = db.collection("tasks")
        tasks.create_index([("done", 1), ("due", 1)])
        print(VERBS[asked.verb](tasks, asked))


def add(tasks: docdb.Collection, asked: argparse.Namespace) -> str:
    """Store a task."""
    due = asked.due and dt.datetime.combine(asked.due, dt.time(), dt.UTC)
    tasks.add({"text": asked.text, "tags": asked.tag, "due": due, "done": False, "made": docdb.server_date()})
    return f"{tasks.where({'done': False}).count()} to do"


def show(tasks: docdb.Collection, asked: argparse.Namespace) -> str:
    """Return the open tasks, the next one due first; those without a date come last."""
    wanted = {"done": False, **({"tags": _.in_(asked.tag)} if asked.tag else {})}
    dated = tasks.where({**wanted, "due": _.neq(None)}).order_by("due", "asc").get().to_list()
    others = tasks.where({**wanted, "due": None}).order_by("made", "asc").get().to_list()
    lines = [f"{task['due']:%Y-%m-%d}  {task['text']}" for task in dated] + [f"            {t['text']}" for t in others]
    return "\n".join(lines) or "nothing to do"


def done(tasks: docdb.Collection, asked: argparse.Namespace) -> str:
    """Mark every open task whose text holds these words."""
    found = tasks.where({"done": False, "text": {"$regex": asked.text, "$options": "i"}})
    return f"{found.update({'done': True, 'finished': docdb.server_date()}).updated} done"


def clear(tasks: docdb.Collection, asked: argparse.Namespace) -> str:
    """Remove what is done."""
    return f"{tasks.where({'done': True}).remove().removed} removed"


VERBS = {"add": add, "list": show, "done": done, "clear": clear}

if __name__ == "__main__":
    main()
