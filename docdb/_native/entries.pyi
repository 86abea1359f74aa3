from collections.abc import Sequence

class EntryKernel:
    def __init__(
        self, number: int, fields: Sequence[tuple[tuple[str, ...], int]], unique: bool, sparse: bool
    ) -> None: ...
    def entries(self, id_key: bytes, data: bytes) -> list[tuple[bytes, bytes]] | None: ...
    def entries_many(
        self, id_keys: Sequence[bytes], datas: Sequence[bytes]
    ) -> list[list[tuple[bytes, bytes]] | None]: ...
