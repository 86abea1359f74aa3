"""The pictures of the command line in docs/pictures/: each is what a terminal shows, as SVG. ``make docs`` draws them.

What lives here: the scenes, and how what a terminal was sent becomes a picture. Needs the extra ``cli``.
"""

from __future__ import annotations

import fcntl
import gzip
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).resolve().parent
CITIES = DOCS.parent / "examples" / "data" / "cities-sample.json.gz"
WIDTH = 100
BAR = "━"

SCENES: dict[str, tuple[str, ...]] = {
    "import": ("import", "shop.docdb", "many.ndjson", "--collection", "cities"),
    "find": ("find", "shop.docdb", "cities", '{"country": "IT"}', "--sort", "name", "--projection", "name,country,lat,lng", "--limit", "6"),
    "explain": ("explain", "shop.docdb", "cities", '{"country": "IT", "name": {"$gte": "R"}}', "--sort", "name", "--limit", "10"),
    "aggregate": (
        "aggregate", "shop.docdb", "cities", '[{"$group": {"_id": "$country", "cities": {"$sum": 1}}}, {"$sort": {"cities": -1}}, {"$limit": 5}]',
    ),
    "check": ("check", "shop.docdb"),
}  # fmt: skip


def main() -> None:
    """Make a database in a folder that is thrown away, play the scenes in it, and draw them."""
    (DOCS / "pictures").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        for name, words in SCENES.items():
            shown = play(words, folder, _half_way if name == "import" else str)
            (DOCS / "pictures" / f"{name}.svg").write_text(draw(words, shown), encoding="utf-8")
            if name == "import":
                play(("index", "create", "shop.docdb", "cities", "country,name"), folder, str)


def _prepare(folder: Path) -> None:
    """Write a file large enough for a bar to be seen."""
    rows = json.loads(gzip.decompress(CITIES.read_bytes()))
    with (folder / "many.ndjson").open("w", encoding="utf-8") as file:
        for turn in range(12):
            file.writelines(json.dumps({"_id": f"{turn}.{n}", **row}) + "\n" for n, row in enumerate(rows))


def play(words: tuple[str, ...], folder: str, chosen: Callable[[str], str]) -> str:
    """Run a verb on a terminal of its own; return what ``chosen`` takes of all that was sent to it."""
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "docdb", *words]
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, cwd=folder, env=environment) as child:
        os.close(end)
        sent = b""
        while True:
            try:
                part = os.read(screen, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            sent += part
    os.close(screen)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)}: {sent.decode()}")
    return chosen(sent.decode())


def _half_way(sent: str) -> str:
    """Return the frame of a bar that is nearest to the middle, and what was printed last."""
    frames = [frame for frame in re.split(r"\r|\x1b\[2K|\x1b\[1A", sent) if BAR in frame and "%" in frame]
    percent = [int(re.sub(r"\x1b\[[0-9;]*m", "", frame).split("%")[0].split()[-1]) for frame in frames]
    middle = min(range(len(frames)), key=lambda at: abs(percent[at] - 60))
    return frames[middle].rstrip() + "\n" + re.sub(r"\x1b\[[0-9;?]*[A-Zhl]", "", sent.splitlines()[-1])


def draw(words: tuple[str, ...], shown: str) -> str:
    """Return the picture of a terminal with a command and what it showed."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    quoted = " ".join(f"'{word}'" if re.search(r"[{}\[\] ]", word) else word for word in words)
    console.print(Text.assemble(("$ ", "bold green"), (f"docdb {quoted}", "bold")))
    console.print(Text.from_ansi(shown.replace("\r\n", "\n").rstrip()))
    drawn = console.export_svg(title="docdb", unique_id=words[0])
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # no picture asks another host for its letters
    drawn = re.sub(r"<!--.*?-->\s*", "", drawn, flags=re.DOTALL)
    return re.sub(
        r"font-family: Fira Code, monospace", "font-family: Menlo, Consolas, 'DejaVu Sans Mono', monospace", drawn
    )


if __name__ == "__main__":
    main()
