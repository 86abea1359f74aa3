"""The notice board: an ASGI app whose only permission check is the database's."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import docdb

pytest.importorskip("starlette")
pytest.importorskip("httpx2")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from starlette.testclient import TestClient

    monkeypatch.setenv("BOARD", str(tmp_path / "board.docdb"))
    spec = importlib.util.spec_from_file_location("board", ROOT / "examples" / "board.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "board", module)
    spec.loader.exec_module(module)
    with TestClient(module.app) as found:
        yield found


def by(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def texts(answer: Any) -> list[str]:
    return [note["text"] for note in answer.json()]


def test_notes_belong_to_whoever_wrote_them(client: Any) -> None:
    made = client.post("/notes", json={"text": "for all", "public": True}, headers=by("ann"))
    mine = client.post("/notes", json={"text": "for me"}, headers=by("ann"))
    assert (made.status_code, mine.status_code) == (201, 201)
    assert texts(client.get("/notes")) == texts(client.get("/notes", headers=by("bob"))) == ["for all"]
    assert texts(client.get("/notes", headers=by("ann"))) == ["for me", "for all"]

    id = made.json()["id"]
    for headers in ({}, by("bob")):
        assert client.patch(f"/notes/{id}", json={"text": "mine now"}, headers=headers).status_code == 403
        assert client.delete(f"/notes/{id}", headers=headers).status_code == 403
        assert client.delete("/notes/absent", headers=headers).status_code == 403
    assert client.patch(f"/notes/{id}", json={"text": "changed"}, headers=by("ann")).json() == {"updated": 1}
    assert client.delete(f"/notes/{id}", headers=by("ann")).json() == {"removed": 1}


def test_what_is_refused_says_which_way(client: Any) -> None:
    assert client.post("/notes", json={"text": "x"}).status_code == 403
    assert client.post("/notes", json={"text": "x" * 501}, headers=by("ann")).status_code == 403
    wrong = client.post("/notes", json={"public": True}, headers=by("ann"))
    assert (wrong.status_code, wrong.json()["error"]) == (400, "'text'")


def test_a_board_follows_what_its_reader_may_see(client: Any) -> None:
    with client.websocket_connect("/live", headers=by("bob")) as board:
        assert board.receive_json() == []
        id = client.post("/notes", json={"text": "hello", "public": True}, headers=by("ann")).json()["id"]
        (entered,) = docdb.ejson.loads(board.receive_text())
        assert (entered["change"], entered["id"], entered["note"]["text"]) == ("add", id, "hello")
        client.patch(f"/notes/{id}", json={"public": False, "text": "secret"}, headers=by("ann"))
        (left,) = docdb.ejson.loads(board.receive_text())
        assert (left["change"], left["note"]["text"]) == ("remove", "hello")
