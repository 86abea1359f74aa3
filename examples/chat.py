"""A chat between processes, with nothing but a folder between them.

    python examples/chat.py FOLDER NAME [--room ROOM]

Each line you type goes to everybody who has the same folder and room open; what they write appears here. An empty line, or the end of the input, leaves. There
is no server: each process follows the database itself with a live query.
"""

import argparse
import sys
from typing import TextIO

import docdb

HISTORY = 20  # messages shown at first


class Chat:
    """One person in one room."""

    def __init__(self, database: docdb.Database, room: str, name: str, output: TextIO) -> None:
        self.messages = database.collection("messages")
        self.people = database.collection("people")
        self.room = room
        self.name = name
        self.output = output
        self.me = self.people.add({"room": room, "name": name}).id
        # Newest first and limited: the query holds the last messages, however long the room has been talking.
        recent = self.messages.where({"room": room}).order_by("_id", "desc").limit(HISTORY)
        self.watchers = [
            recent.watch(on_change=self.hear, on_error=self.complain),
            self.people.where({"room": room}).watch(on_change=self.meet, on_error=self.complain),
        ]

    def say(self, text: str) -> None:
        """Send a message; ids are made in the order of time."""
        self.messages.add({"room": self.room, "from": self.name, "text": text, "at": docdb.server_date()})

    def hear(self, snapshot) -> None:
        """Show what was said since the last snapshot."""
        said = [change.doc for change in snapshot.doc_changes if change.queue_type in ("init", "enqueue")]
        for message in sorted(said, key=lambda message: message["_id"]):
            self.show(f"{message['from']}: {message['text']}")

    def meet(self, snapshot) -> None:
        """Show who came and who left."""
        for change in snapshot.doc_changes:
            if change.data_type == "add":
                self.show(f"* {change.doc['name']} came in")
            elif change.data_type == "remove":
                self.show(f"* {change.doc['name']} left")

    def show(self, line: str) -> None:
        """Print a line at once, in one piece: several threads do."""
        self.output.write(line + "\n")
        self.output.flush()

    def complain(self, error: BaseException) -> None:
        """Say why nothing more will be heard."""
        print(f"chat: {error}", file=sys.stderr, flush=True)

    def leave(self) -> None:
        """Stop listening and take one's name off the door."""
        for watcher in self.watchers:
            watcher.close()
        self.people.doc(self.me).remove()


def main() -> None:
    """Read the command line, then what is typed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("name")
    parser.add_argument("--room", default="lobby")
    options = parser.parse_args()
    with docdb.open(options.folder) as database:
        database.collection("messages").create_index("room")
        chat = Chat(database, options.room, options.name, sys.stdout)
        chat.show(f"* you are {options.name} in {options.room}")
        try:
            for line in sys.stdin:
                if not line.strip():
                    break
                chat.say(line.strip())
        except KeyboardInterrupt:
            pass
        finally:
            chat.leave()


if __name__ == "__main__":
    main()
