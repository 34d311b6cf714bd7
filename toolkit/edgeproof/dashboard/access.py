"""Who may ask: a token beyond loopback, and on loopback only pages and programs of this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeproof.dashboard.assets import LOGIN_HEADERS, login_page
from edgeproof.dashboard.refusals import RefusedError, refuse
from edgeproof_runtime.errors import InputError

__all__ = ["Access", "check_token", "is_loopback"]

_COOKIE = "edgeproof_session"
_COOKIE_AGE_S = 30 * 24 * 3600
_MAX_FORM_BYTES = 4096
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_token(token: str | None, host: str) -> None:
    """Refuse to serve other machines without a token, or with one that no header can carry.

    Raises:
        InputError: says how to give one, and how clients send it.
    """
    if token is None and not is_loopback(host):
        raise InputError(
            f"{host} can be reached from other machines, and there is no token to keep strangers out",
            expected="a token for every address but loopback (127.0.0.1, ::1, localhost)",
            fix="set EDGEPROOF_TOKEN, or give --token, for instance $(openssl rand -hex 16); programs then send "
            "'Authorization: Bearer TOKEN', a browser opens the page and asks for it (or open /?token=TOKEN once)",
        )
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise InputError("the token is empty, or a header cannot carry it", expected="ASCII without spaces")


class Access:
    """ASGI middleware that lets through what may pass.

    With a token: ``Authorization: Bearer TOKEN``, or the cookie that the login form or ``?token=TOKEN`` gives. Without:
    only requests that name this machine as their ``Host``, because a foreign page can make its own name point to
    127.0.0.1 (DNS rebinding). Requests that a foreign page's script makes are refused either way. ``/healthz`` is open.
    """

    def __init__(self, app: ASGIApp, token: str | None, host: str) -> None:
        self._app = app
        self._token = token
        self._names = {*_LOCAL_NAMES, host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/healthz":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._stop(request)
        except RefusedError as error:
            response = await refuse(request, error)
        if response is None:
            await self._app(scope, receive, send)
        else:
            await response(scope, receive, send)

    async def _stop(self, request: Request) -> Response | None:
        """What to answer instead of the application; None lets the request through."""
        host = request.headers.get("host", "")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise RefusedError(403, f"a page of another site asked; got: Origin {origin[:80]}; expected: {host[:80]}")
        if self._token is None:
            name = _host_name(host)
            if name not in self._names:
                names = ", ".join(sorted(self._names))
                raise RefusedError(403, f"the request is for another host; got: Host {host[:80]}; expected: {names}")
            return None
        if request.url.path == "/login" and request.method == "POST":
            return await self._login(request)
        if request.method == "GET" and "token" in request.query_params:
            if not self._is_token(request.query_params["token"]):
                return _ask(request, wrong=True)
            rest = request.url.remove_query_params("token")
            path = f"/{rest.path.lstrip('/')}"  # two slashes would lead to another site
            return self._with_cookie(RedirectResponse(f"{path}{'?' if rest.query else ''}{rest.query}", 303))
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        cookie = request.cookies.get(_COOKIE, "")
        if scheme.lower() == "bearer":
            passed = self._is_token(given.strip())
        else:
            passed = hmac.compare_digest(cookie.encode(), self._session().encode())
        return None if passed else _ask(request, wrong=bool(given))

    async def _login(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM_BYTES:
                raise RefusedError(413, "the form is too large", {"connection": "close"})
        given = parse_qs(body.decode("ascii", "replace")).get("token", [""])[0]
        if not self._is_token(given.strip()):
            return HTMLResponse(login_page(wrong=True), 401, LOGIN_HEADERS)
        return self._with_cookie(RedirectResponse("/", 303))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())

    def _session(self) -> str:
        """The cookie's value, from which the token cannot be told."""
        digest = hmac.digest((self._token or "").encode(), b"edgeproof session", hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _with_cookie(self, response: Response) -> Response:
        response.set_cookie(_COOKIE, self._session(), max_age=_COOKIE_AGE_S, httponly=True, samesite="strict")
        return response


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _ask(request: Request, *, wrong: bool) -> Response:
    if "text/html" in request.headers.get("accept", "") and request.url.path == "/":
        return HTMLResponse(login_page(wrong=wrong), 401, LOGIN_HEADERS)
    message = "the token is wrong" if wrong else "a token is needed"
    raise RefusedError(
        401, f"{message}; expected: the header 'Authorization: Bearer TOKEN'", {"www-authenticate": "Bearer"}
    )
