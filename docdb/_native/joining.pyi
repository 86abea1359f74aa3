from typing import Any

Document = dict[str, Any]
Known = dict[Any, tuple[list[Document], bool]]

def join_known(
    batch: list[Document], local: str, known: Known, target: str
) -> tuple[list[Document | None], list[int]]: ...
def join_unwound(
    batch: list[Document], local: str, known: Known, target: str, keeps: bool
) -> tuple[list[list[Document] | None], list[int]]: ...
