"""The keyset token: a document's place in an order, as text.

What lives here: its two directions. What it must not know: where documents come from. Sort keys are bytes (``language/sorting.py``).
"""

from __future__ import annotations

import base64
import binascii

from docdb.errors import QueryError

__all__ = ["decode_token", "encode_token"]


def encode_token(key: bytes) -> str:
    """Return the keyset token of a document's sort key."""
    return base64.urlsafe_b64encode(key).decode("ascii").rstrip("=")


def decode_token(token: str) -> bytes:
    """Return the sort key in a token; raise QueryError for what is none."""
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error, TypeError) as error:
        raise QueryError(
            "the keyset token is damaged", path="after", hint="pass the token of the page before"
        ) from error
