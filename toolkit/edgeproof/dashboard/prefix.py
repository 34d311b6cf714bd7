"""Serve below a path prefix, whether or not a proxy takes the prefix off."""

from __future__ import annotations

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeproof_runtime.errors import InputError

__all__ = ["Prefix", "check_root_path", "route_of"]

_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def check_root_path(root_path: str) -> str:
    """Return a path prefix without its last slash.

    Raises:
        InputError: it is none.
    """
    shortened = root_path.rstrip("/")
    if not _ROOT_PATH.fullmatch(shortened) or {".", ".."} & set(shortened.split("/")):
        raise InputError("--root-path: invalid", got=root_path, expected="a path, such as /line-3/camera")
    return shortened


def route_of(scope: Scope) -> str:
    """Return the path of a request without the prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


class Prefix:
    """ASGI middleware that puts the prefix into every request's path, where a proxy took it off."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._root_path:
            path = scope["path"]
            if path == self._root_path:  # the page's links are relative to the slash
                await RedirectResponse(f"{path}/", 307)(scope, receive, send)
                return
            if not path.startswith(f"{self._root_path}/"):
                path = self._root_path + path
            scope = {**scope, "root_path": self._root_path, "path": path}
        await self._app(scope, receive, send)
