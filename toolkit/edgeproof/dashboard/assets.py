"""The page's files, read once; the page loads nothing from other servers."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

__all__ = ["LOGIN_HEADERS", "SECURITY_HEADERS", "asset", "login_page"]

_FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def _policy(style: str) -> str:
    return (
        f"default-src 'none'; script-src 'self'; style-src {style}; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


SECURITY_HEADERS = {
    "content-security-policy": _policy("'self'"),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # without a referrer, browsers send no origin with the login form
    "x-content-type-options": "nosniff",
}
"""Headers of every response."""


@cache
def asset(name: str) -> tuple[bytes, str]:
    """Return content and media type of a file of the page."""
    path = _FOLDER / name
    return path.read_bytes(), _TYPES[path.suffix]


def login_page(*, wrong: bool) -> str:
    """Return the form that asks for the token; its style is inline because files require the token."""
    text = asset("login.html")[0].decode()
    return text.replace("<!-- wrong -->", '<p role="alert">Wrong token.</p>' if wrong else "")


def _login_style_hash() -> str:
    style = asset("login.html")[0].decode().partition("<style>")[2].partition("</style>")[0]
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


LOGIN_HEADERS = {"content-security-policy": _policy(f"'sha256-{_login_style_hash()}'"), "cache-control": "no-store"}
"""Headers of a response with `login_page`."""
