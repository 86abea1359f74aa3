from collections.abc import Sequence
from typing import Any

from docdb._native.codec import Decoder

Path = tuple[bytes, ...]

class Groups(Decoder):
    declined: bool
    count: int
    def __init__(
        self,
        paths: tuple[tuple[Path, bool], ...],
        terms: Sequence[tuple[int, tuple[Any, ...] | None, bool]],
        folds: Sequence[tuple[int, int]],
        unwinds: tuple[int, bool] | None,
        each: int,
        limit: int,
    ) -> None: ...
    def rows(self, absent: Any) -> list[tuple[list[Any], int, list[Any]]]: ...

class JoinedGroups(Groups):
    full: bool
    def __init__(
        self,
        paths: tuple[tuple[Path, bool], ...],
        terms: Sequence[tuple[int, tuple[Any, ...] | None, bool]],
        folds: Sequence[tuple[int, int]],
        unwinds: tuple[int, bool],
        each: int,
        limit: int,
        foreign: Path,
        memory: int,
    ) -> None: ...
    def bring(self, documents: list[bytes]) -> None: ...
    def resume(self) -> bool: ...
    def wanted(self) -> list[Any]: ...
