from collections.abc import Callable, Iterable, Mapping
from typing import Any

class Vocabulary:
    def __init__(
        self, term_of: Callable[[str], str], terms_of: Callable[[str], Iterable[str]], letters: bytes
    ) -> None: ...

class TextEntries:
    def __init__(
        self,
        prefix: bytes,
        branches: tuple[tuple[bytes, float | None, int, int], ...],
        override: bytes,
        factors: tuple[float, ...],
        whole: float,
        vocabulary: Vocabulary,
        scores: Callable[[bytes], Mapping[str, float]],
    ) -> None: ...
    def run(self, documents: Any, program: Any = None, upto: bytes | None = None) -> Any: ...
