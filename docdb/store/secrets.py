"""Text that only this database can have written: positions for callers who may not know the numbers in them.

What lives here: the database's secret, a record in the catalog space, and ``Seal``. What it must not know: what is sealed, for whom.

A seal begins with a keyed hash of what is sealed (salt first), its key made of the secret and the context; behind it stands what is sealed under a key
stream made from that hash (the construction of RFC 5297 with keyed BLAKE2b). So it can be neither read nor altered, nor used in another context; and as no
two are alike, nobody sees whether they say the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Final

from docdb.engine.base import CATALOG
from docdb.errors import CorruptError
from docdb.store.keyspace import SECRET_KEY

if TYPE_CHECKING:
    from docdb.store.batch import WriteBatch
    from docdb.store.store import Store

__all__ = ["Seal", "secret_of"]

SECRET: Final = 32
TAG: Final = 16
SALT: Final = 8
LONGEST: Final = 64  # bytes that are sealed, the salt among them: one block of the key stream


def secret_of(store: Store) -> bytes:
    """Return the database's secret, made when it is first asked for; one that lives as long as the process where nothing can be written."""
    found: bytes | None = store.secret
    if found is None:
        found = _stored(store)
        if found is None:
            found = os.urandom(SECRET)
            if not store.engine.read_only:
                made = found
                found = store.write(lambda batch: _keep(batch, made))
        if len(found) != SECRET:
            raise CorruptError("the database's secret is damaged")
        store.secret = found
    return found


def _stored(store: Store) -> bytes | None:
    with store.snapshot() as snapshot:
        return snapshot.txn.get(CATALOG, SECRET_KEY)


def _keep(batch: WriteBatch, made: bytes) -> bytes:
    """Store a secret unless another process was first; return the one that is stored."""
    stored = batch.txn.get(CATALOG, SECRET_KEY)
    if stored is None:
        batch.put_catalog([(SECRET_KEY, made)])
        return made
    return bytes(stored)


class Seal:
    """Seals short bytes for one context.

    >>> seal = Seal(bytes(32), b"ann")
    >>> seal.open(seal.close(b"7")), Seal(bytes(32), b"bob").open(seal.close(b"7"))
    (b'7', None)
    """

    __slots__ = ("_stream", "_tag")

    def __init__(self, secret: bytes, context: bytes) -> None:
        self._tag = hashlib.blake2b(b"tag" + context, key=secret, digest_size=32).digest()
        self._stream = hashlib.blake2b(b"stream" + context, key=secret, digest_size=32).digest()

    def close(self, data: bytes) -> str:
        """Return a text for at most 56 bytes."""
        data = os.urandom(SALT) + data
        tag = self._tagged(data)
        return base64.urlsafe_b64encode(tag + self._mixed(tag, data)).rstrip(b"=").decode("ascii")

    def open(self, text: str) -> bytes | None:
        """Return what a text was made of; None for one that was not made here."""
        try:
            whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            return None
        tag, mixed = whole[:TAG], whole[TAG:]
        if not SALT < len(mixed) <= LONGEST:
            return None
        data = self._mixed(tag, mixed)
        return data[SALT:] if hmac.compare_digest(self._tagged(data), tag) else None

    def _tagged(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self._tag, digest_size=TAG).digest()

    def _mixed(self, tag: bytes, data: bytes) -> bytes:
        stream = hashlib.blake2b(tag, key=self._stream, digest_size=LONGEST).digest()
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))
