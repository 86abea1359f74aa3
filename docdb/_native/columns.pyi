from collections.abc import Iterable

def fill(
    documents: list[bytes], keep: Iterable[str] | None, drop: Iterable[str], text: Iterable[str], most: int
) -> list[tuple[str, int, int, bytes | None, tuple[bytes, ...]]] | None: ...
