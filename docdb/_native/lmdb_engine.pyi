from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from docdb.engine.base import EngineTransaction
from docdb.errors import DocdbError

def resolve(path: str) -> tuple[int, int, int, int] | None: ...
def walk_pages(wanted: bool) -> bool: ...
def walk_memory(
    content: bytes, page_size: int, root: int, depth: int, reverse: bool
) -> tuple[list[tuple[bytes, bytes]], bool]: ...
def find_memory(content: bytes, page_size: int, root: int, depth: int, key: bytes) -> tuple[bool, bytes | None]: ...

class Environment:
    live: bool
    read_only: bool
    def __init__(
        self,
        folder: str,
        names: Iterable[bytes],
        *,
        read_only: bool,
        metasync: bool,
        lock: bool,
        max_readers: int,
        map_bytes: int,
        failure: Callable[[int, str], DocdbError],
    ) -> None: ...
    def begin_read(self) -> EngineTransaction: ...
    def begin_write(self, ended: Callable[[bool], None]) -> EngineTransaction: ...
    def shut(self) -> None: ...
    def abandon(self) -> str | None: ...
    def last_id(self) -> int: ...
    def copy_data(self, folder: str, compact: bool) -> None: ...
    def usage(self) -> dict[str, int]: ...
    def used_bytes(self) -> int: ...
    def readers(self) -> str: ...
    def reader_check(self) -> int: ...

class Transaction: ...

def join(
    transaction: Any,
    low: bytes,
    high: bytes,
    prefix: bytes,
    *,
    more: Sequence[tuple[bytes, bytes]] = (),
    reverse: bool = False,
    first: int = 16,
    batch: int = 256,
    program: Any = None,
    decode: Any = None,
    check: Callable[[], None] | None = None,
    covered: Any = None,
) -> Iterator[tuple[Any, ...]] | None: ...

class EngineCore:
    environment: Any
    def begin(self, write: bool = False) -> EngineTransaction: ...
    def last_id(self) -> int: ...
    def get_latest(
        self, space: int, key: bytes, decode: Callable[[bytes], Any] | None = None
    ) -> tuple[int, Any | None]: ...

class Gate:
    def shut(self) -> None: ...

class PointReader:
    def __init__(
        self, engine: EngineCore, gate: Gate, slow: Callable[[Any], Any], plain: Callable[[Any], Any], object_id: type
    ) -> None: ...
    def learn(self, txn: EngineTransaction, prefix: bytes, space: int, key: bytes, value: bytes) -> None: ...
    def forget(self) -> None: ...
    def find(self, id: Any) -> Any: ...

class FieldReader:
    def __init__(
        self, engine: EngineCore, gate: Gate, note: Callable[[Any, float], None], object_id: type, slow_s: float
    ) -> None: ...
    def learn(
        self,
        txn: EngineTransaction,
        prefix: bytes,
        space: int,
        key: bytes,
        value: bytes,
        *,
        index: bytes,
        counters: bytes,
        behind: bytes,
        uses: dict[int, int],
        number: int,
    ) -> None: ...
    def forget(self) -> None: ...
    def find(self, value: Any, most: int, whole: bool) -> list[Any] | None: ...

class PointWriter:
    last_end: tuple[bytes, bytes] | None
    def __init__(
        self,
        engine: EngineCore,
        gate: Gate,
        store: Any,
        object_id: type,
        *,
        check_s: float,
        check_commits: int,
        room: int,
        most_bytes: int,
    ) -> None: ...
    def learn(self, catalog: Any, prefix: bytes, watched: frozenset[str] | None) -> None: ...
    def change(self, id: Any, fields: Any) -> int: ...
