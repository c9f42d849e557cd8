"""The local server of `hazeheal demo`: the page, and the results as downloads.

It listens on this machine alone, answers only requests that are addressed to it by a name of this machine and come from
its own page, and tells the browser to load nothing from elsewhere.
"""

import contextlib
import errno
import logging
import socket
import urllib.parse
from collections.abc import Sequence

import fastapi
import gradio as gr
import uvicorn
from fastapi.responses import PlainTextResponse, Response
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hazeheal.demo.images import DemoImages
from hazeheal.demo.page import CSS, THEME, build
from hazeheal.errors import HazeHealError
from hazeheal.inference.strength import LARGEST

HOST = "127.0.0.1"
HOSTS = (HOST, "localhost")
FREE_PORTS = 100  # that are tried to name one
GRACE_SECONDS = 2  # for open connections, once the server is to stop
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
)


def bind(port: int) -> socket.socket:
    """Returns a socket that is bound to a port of this machine; 0 is any free one.

    Raises:
        HazeHealError: The port is in use or not permitted. The message names a free one.
    """
    try:
        return _bind(port)
    except PermissionError:
        reason = "needs the rights of the administrator"
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        reason = "is in use by another program"
    for other in range(max(port + 1, 7861), max(port + 1, 7861) + FREE_PORTS):
        with contextlib.suppress(OSError, OverflowError), _bind(other):
            raise HazeHealError(f"--port={port} {reason}; use --port={other}, which is free")
    raise HazeHealError(f"--port={port} {reason}; use --port=0, which takes any free one")


def _bind(port):
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def make_app(images: DemoImages, *, models: Sequence[str], max_upload: int) -> fastapi.FastAPI:
    """Returns the application: the page at `/`, and the results at `/result/KEY?model=NAME&strength=S`.

    Args:
        images: Reads and restores what is uploaded.
        models: The names to choose from; the first one is chosen.
        max_upload: The most bytes of a file.
    """
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS)), Middleware(_OwnPageOnly)]
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None, middleware=guards)

    @app.get("/result/{key}")
    def result(key: str, model: str, strength: float) -> Response:
        if model not in models or not 0 <= strength <= LARGEST:
            return PlainTextResponse(f"model={model} or strength={strength:g} is not valid", status_code=400)
        try:
            name, data = images.result(key, model=model, strength=strength)
        except HazeHealError as error:
            return PlainTextResponse(f"{error}.", status_code=404)
        quoted = urllib.parse.quote(name, safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quoted}", "Cache-Control": "no-store"}
        return Response(data, media_type="application/octet-stream", headers=headers)

    page = build(images, models=models)
    # Gradio sets it in `launch` only, and without it a request may name any file of this machine as an upload.
    page.has_launched = True
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        ssr_mode=False,
        show_error=True,
        max_file_size=max_upload,
        theme=THEME,
        css=CSS,
    )


class _OwnPageOnly:
    """Refuses requests of the pages of other sites, and tells the browser to load nothing from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        if origin is not None and origin != f"http://{headers.get(b'host')}":
            await PlainTextResponse("requests of other sites are refused", status_code=403)(scope, receive, send)
            return

        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self._app(scope, receive, send_with_policy)


def run(app: fastapi.FastAPI, sock: socket.socket) -> None:
    """Serves the application until SIGINT or SIGTERM, which it raises again when the server has stopped."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS)
    uvicorn.Server(config).run(sockets=[sock])
