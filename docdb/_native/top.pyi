from docdb._native.codec import Decoder

def keys_below(
    batch: list[bytes], paths: tuple[tuple[bytes, ...], ...], ways: tuple[int, ...], worst: bytes | None
) -> list[tuple[int, bytes | None]]: ...

class Firsts(Decoder):
    held: list[tuple[bytes | None, int, bytes]]
    worst: bytes | None
    last: bytes | None
    def __init__(self, paths: tuple[tuple[bytes, ...], ...], ways: tuple[int, ...], leads: int = 0) -> None: ...
    @property
    def lead(self) -> bytes | None: ...
