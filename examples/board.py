"""A notice board over HTTP: an ASGI app that embeds docdb and lets its rules decide who may do what.

    pip install docdb-engine starlette uvicorn
    BOARD=board.docdb uvicorn board:app          # in this folder

    GET    /notes            what you may read: public notes and your own
    POST   /notes            {"text": ..., "public": true}
    PATCH  /notes/ID         change your own
    DELETE /notes/ID
    WS     /live             the notes as they are, then every change, as JSON

Who you are is the name in `Authorization: Bearer NAME`: put your own login there. There is no permission check in the handlers: each
speaks to the database as its caller, and the rules below are asked about every document.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

import docdb

RULES = {
    "read": "doc.public == true || (auth != null && doc._openid == auth.openid)",
    "create": "auth != null && doc._openid == auth.openid && doc.text.size() <= 500",
    "update": "auth != null && doc._openid == auth.openid && doc.text.size() <= 500 && !changed('made')",
    "delete": "auth != null && doc._openid == auth.openid",
}


@contextlib.asynccontextmanager
async def opened(app: Starlette) -> AsyncIterator[None]:
    """Open the database for the life of the app."""
    async with docdb.aio.open(os.environ.get("BOARD", "board.docdb")) as database:
        await database.set_rules("notes", RULES)
        app.state.database = database
        yield


def notes(connection: HTTPConnection) -> docdb.aio.AsyncCollection[dict[str, Any]]:
    """Return the notes as the caller may see and change them."""
    kind, _, name = connection.headers.get("authorization", "").partition(" ")
    caller = {"openid": name} if kind == "Bearer" and name else None
    return connection.app.state.database.as_user(caller, filter_mode=True)["notes"]


async def show(request: Request) -> Response:
    """Answer the newest notes."""
    found = await notes(request).where({}).order_by("made", "desc").limit(50).get()
    return answer(found.to_list())


async def post(request: Request) -> Response:
    """Store a note; the database sets whose it is."""
    given = await request.json()
    note = {"text": given["text"], "public": given.get("public", False), "made": docdb.server_date()}
    return answer({"id": (await notes(request).add(note)).id}, 201)


async def change(request: Request) -> Response:
    """Change a note."""
    given = await request.json()
    note = notes(request).doc(request.path_params["id"])
    return answer({"updated": (await note.update({k: given[k] for k in ("text", "public") if k in given})).updated})


async def remove(request: Request) -> Response:
    """Take a note off."""
    return answer({"removed": (await notes(request).doc(request.path_params["id"]).remove()).removed})


async def live(socket: WebSocket) -> None:
    """Send the notes, then what changes in them for this caller: a note that is made private leaves his board."""
    await socket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        async with notes(socket).where({}).order_by("made", "desc").limit(50).watch() as board:
            async for snapshot in board:
                told = [{"change": c.data_type, "id": c.doc_id, "note": c.doc} for c in snapshot.doc_changes]
                await socket.send_text(docdb.ejson.dumps(told))


def answer(found: Any, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(docdb.ejson.dumps(found), status, media_type="application/json")


async def denied(request: Request, error: Exception) -> Response:
    """Answer what the rules refuse; the reason is in the log, under the id."""
    return JSONResponse({"error": str(error)}, 403)


async def wrong(request: Request, error: Exception) -> Response:
    """Answer what cannot be understood or stored."""
    return JSONResponse({"error": str(error)}, 400)


app = Starlette(
    lifespan=opened,
    routes=[
        Route("/notes", show),
        Route("/notes", post, methods=["POST"]),
        Route("/notes/{id}", change, methods=["PATCH"]),
        Route("/notes/{id}", remove, methods=["DELETE"]),
        WebSocketRoute("/live", live),
    ],
    exception_handlers={docdb.DeniedError: denied, docdb.UsageError: wrong, KeyError: wrong},
)
