"""Access control: a token beyond loopback; on loopback only pages and programs of this machine."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeproof.dashboard.assets import LOGIN_HEADERS, login_page
from edgeproof.dashboard.prefix import route_of
from edgeproof.dashboard.refusals import RefusedError, in_time, refuse
from edgeproof_runtime.errors import InputError

__all__ = ["Access", "check_token", "is_loopback"]

_COOKIE_AGE_S = 30 * 24 * 3600
_MAX_FORM_BYTES = 4096
_FORM_S = 10.0
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(:[0-9]*)?", re.ASCII)
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Return whether an address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_token(token: str | None, host: str) -> None:
    """Require a token for addresses beyond loopback, and one that fits into a header.

    Raises:
        InputError: the token is missing or invalid; the message says how to set and send one.
    """
    if token is None and not is_loopback(host):
        raise InputError(
            f"--host {host}: reachable from other machines, requires a token",
            expected="a token for every address but loopback (127.0.0.1, ::1, localhost)",
            fix="set EDGEPROOF_TOKEN, or --token, for example to $(openssl rand -hex 16); programs then send "
            "'Authorization: Bearer TOKEN', and a browser asks for it (or open /?token=TOKEN once)",
        )
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise InputError("--token: empty, or not valid in a header", expected="ASCII without spaces")


class Access:
    """ASGI middleware that admits authorised requests.

    With a token: requires ``Authorization: Bearer TOKEN``, or the cookie set by the login form or ``?token=TOKEN``.
    Without: requires this machine's name as ``Host``, because another site's name can resolve to 127.0.0.1 (DNS
    rebinding). Requests by scripts of other sites are always refused. ``/healthz`` is open.
    """

    def __init__(self, app: ASGIApp, token: str | None, host: str) -> None:
        self._app = app
        self._token = token
        self._names = {*_LOCAL_NAMES, host}
        # Browsers send cookies to all ports of a host: servers with different tokens must not overwrite each other's.
        self.cookie: str = f"edgeproof_{self._derived(b'edgeproof cookie')[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_of(scope) == "/healthz":
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
        """Return the response to a request that is not admitted; None admits it."""
        host = request.headers.get("host", "")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise RefusedError(
                403, f"origin: request by another site; got: Origin {origin[:80]}; expected: {host[:80]}"
            )
        if self._token is None:
            name = _host_name(host)
            if name not in self._names:
                names = ", ".join(sorted(self._names))
                raise RefusedError(403, f"host: unknown; got: Host {host[:80]}; expected: {names}")
            return None
        if route_of(request.scope) == "/login" and request.method == "POST":
            return await self._login(request)
        if request.method == "GET" and "token" in request.query_params:
            if not self._is_token(request.query_params["token"]):
                return _ask(request, wrong=True)
            rest = request.url.remove_query_params("token")
            path = f"/{rest.path.lstrip('/')}"  # a path of two slashes would redirect to another site
            return self._with_cookie(request, RedirectResponse(f"{path}{'?' if rest.query else ''}{rest.query}", 303))
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        cookie = request.cookies.get(self.cookie, "")
        if scheme.lower() == "bearer":
            passed = self._is_token(given.strip())
        else:
            passed = hmac.compare_digest(cookie.encode(), self._derived(b"edgeproof session").encode())
        return None if passed else _ask(request, wrong=bool(given))

    async def _login(self, request: Request) -> Response:
        body = b""
        try:
            async for chunk in in_time(request.stream(), _FORM_S):
                body += chunk
                if len(body) > _MAX_FORM_BYTES:
                    raise RefusedError(413, "form: too large", {"connection": "close"})
        except asyncio.TimeoutError:
            raise RefusedError(408, "form: did not arrive", {"connection": "close"}) from None
        except ClientDisconnect:
            raise RefusedError(400, "form: the client disconnected") from None
        given = parse_qs(body.decode("ascii", "replace")).get("token", [""])[0]
        if not self._is_token(given.strip()):
            return HTMLResponse(login_page(wrong=True), 401, LOGIN_HEADERS)
        return self._with_cookie(request, RedirectResponse(f"{request.scope.get('root_path', '')}/", 303))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())

    def _derived(self, use: bytes) -> str:
        """Return a text that only who knows the token can make, and that does not reveal it."""
        return hmac.digest((self._token or "").encode(), use, hashlib.sha256).hex()

    def _with_cookie(self, request: Request, response: Response) -> Response:
        response.set_cookie(
            self.cookie,
            self._derived(b"edgeproof session"),
            max_age=_COOKIE_AGE_S,
            path=request.scope.get("root_path") or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response


def _host_name(host: str) -> str:
    """Return the name of a ``Host`` header; empty where it is more than a name and a port (RFC 9110, 7.2)."""
    found = _HOST.fullmatch(host)
    return "" if found is None else found["name"].strip("[]").lower()


def _ask(request: Request, *, wrong: bool) -> Response:
    if "text/html" in request.headers.get("accept", "") and route_of(request.scope) == "/":
        return HTMLResponse(login_page(wrong=wrong), 401, LOGIN_HEADERS)
    message = "token: wrong" if wrong else "token: missing"
    raise RefusedError(
        401, f"{message}; expected: the header 'Authorization: Bearer TOKEN'", {"www-authenticate": "Bearer"}
    )
