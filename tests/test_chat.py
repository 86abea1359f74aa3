"""The chat example, as two processes that talk."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOON_S = 60.0


class Person:
    """One process of the chat."""

    def __init__(self, folder: Path, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "examples/chat.py", str(folder), name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        self.heard: list[str] = []
        self.patience = threading.Timer(SOON_S, self.process.kill)  # then the next line is the empty one
        self.patience.start()

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def hear(self, text: str) -> None:
        """Read on until a line is this text."""
        assert self.process.stdout is not None
        while text not in self.heard:
            line = self.process.stdout.readline()
            assert line, f"{text!r} is not among {self.heard}"
            self.heard.append(line.rstrip("\n"))

    def leave(self) -> None:
        self.process.communicate("\n", timeout=SOON_S)
        self.patience.cancel()


def test_two_processes_talk(tmp_path: Path) -> None:
    ann = Person(tmp_path / "chat", "Ann")
    ann.hear("* you are Ann in lobby")
    ann.say("anybody here?")
    ann.hear("Ann: anybody here?")
    bob = Person(tmp_path / "chat", "Bob")
    bob.hear("Ann: anybody here?")
    ann.hear("* Bob came in")
    for number in range(5):
        ann.say(f"question {number}")
        bob.hear(f"Ann: question {number}")
        bob.say(f"answer {number}")
        ann.hear(f"Bob: answer {number}")
    bob.leave()
    ann.hear("* Bob left")
    ann.leave()
    assert (ann.process.returncode, bob.process.returncode) == (0, 0)
    assert [line for line in ann.heard if line.startswith(("Ann:", "Bob:"))] == [
        "Ann: anybody here?",
        *(line for number in range(5) for line in (f"Ann: question {number}", f"Bob: answer {number}")),
    ]
