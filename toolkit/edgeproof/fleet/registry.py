"""A client of the OCI distribution API (specification 1.1) over the standard library.

Requests are tried again where the network or the registry fails; transfers go on where they stopped.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from email.message import Message
from pathlib import Path
from typing import IO, Any

from edgeproof.fleet.credentials import VARIABLES, Credentials, credentials_for
from edgeproof.fleet.reference import DIGEST, Reference
from edgeproof_runtime.bundle.reader import sha256_of
from edgeproof_runtime.errors import InputError

__all__ = ["INDEX", "MANIFEST", "Registry", "RegistryError"]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

_ACCEPTED = f"{MANIFEST}, {INDEX}"
_MAX_MANIFEST = 4 << 20  # the specification's bound
_READ_BYTES = 1 << 18
_UPLOAD_BYTES = 8 << 20
_TRIES = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIELD = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_USER_AGENT = "edgeproof"


class RegistryError(InputError):
    """A registry that cannot be reached, refuses, or sends something else than it should. Another try may succeed.

    Attributes:
        status: HTTP status; None without a response.
    """

    def __init__(
        self, what: str, *, got: object | None = None, expected: object | None = None, fix: str | None = None,
        status: int | None = None,
    ) -> None:  # fmt: skip
        self.status = status
        super().__init__(what, got=got, expected=expected, fix=fix)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never from TLS to plain HTTP. Unredirected headers (credentials) stay behind."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise RegistryError("registry: redirects from HTTPS to plain HTTP", fix="ask its operator")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class Registry:
    """One repository of a registry.

    Args:
        reference: an address in the repository.
        plain_http: use HTTP without TLS. A registry on this machine (loopback) always does.
        timeout_s: longest wait for an answer or for more of it, seconds.
        credentials: None takes those of `credentials_for`.

    Raises:
        InputError: credentials would be sent without TLS to another machine, or cannot be read.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        plain_http: bool = False,
        timeout_s: float = 30.0,
        credentials: Credentials | None = None,
    ) -> None:
        self.host = reference.host
        self._name = reference.name
        plain = plain_http or reference.is_loopback
        self._base = f"{'http' if plain else 'https'}://{reference.host}/v2/{reference.name}"
        self._credentials = credentials_for(reference.host) if credentials is None else credentials
        if plain and not reference.is_loopback and self._credentials != Credentials():
            raise InputError(
                f"{reference.host}: a password would travel without encryption",
                got="--plain-http, and credentials for this registry",
                fix="use TLS, or remove the credentials (docker logout)",
            )
        self._timeout_s = timeout_s
        handlers: list[urllib.request.BaseHandler] = [_Redirects()]
        if reference.is_loopback:
            handlers.append(urllib.request.ProxyHandler({}))
        if not plain:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
        self._opener = urllib.request.build_opener(*handlers)
        self._authorization: str | None = f"Bearer {self._credentials.token}" if self._credentials.token else None

    def resolve(self, version: str) -> str:
        """Return the digest that a tag names now.

        Raises:
            RegistryError: not found, or the registry fails.
        """
        with self._send("HEAD", f"/manifests/{version}", headers={"Accept": _ACCEPTED}) as answer:
            digest = str(answer.headers.get("Docker-Content-Digest", ""))
        if DIGEST.fullmatch(digest):
            return digest
        return self.manifest(version)[1]

    def manifest(self, version: str) -> tuple[bytes, str]:
        """Return a manifest and its digest, which is compared where ``version`` is a digest.

        Raises:
            RegistryError: not found, too large, of another digest, or the registry fails.
        """
        with self._send("GET", f"/manifests/{version}", headers={"Accept": _ACCEPTED}) as answer:
            content = self._read(answer, _MAX_MANIFEST + 1)
        if len(content) > _MAX_MANIFEST:
            raise RegistryError(f"{self.host}: manifest of more than {_MAX_MANIFEST} bytes")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if DIGEST.fullmatch(version) and digest != version:
            raise RegistryError(f"{self.host}: manifest of another digest", got=digest, expected=version)
        return content, digest

    def blob(self, digest: str, max_bytes: int) -> bytes:
        """Return a small blob, checked.

        Raises:
            RegistryError: not found, larger than ``max_bytes``, of another digest, or the registry fails.
        """
        with self._send("GET", f"/blobs/{digest}") as answer:
            content = self._read(answer, max_bytes + 1)
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if len(content) > max_bytes or found != digest:
            raise RegistryError(f"{self.host}: blob of another size or digest", got=found, expected=digest)
        return content

    def download(self, digest: str, size: int, path: Path, advance: Callable[[int], None] = lambda _size: None) -> None:
        """Download a blob into a file; what an earlier try left there is kept, and the rest requested.

        A file of another digest is removed.

        Args:
            digest: digest of the blob.
            size: its size, bytes.
            path: the file.
            advance: called with the number of bytes that were added.

        Raises:
            RegistryError: the registry fails again and again, sends another size, or another digest.
            OSError: the file cannot be written.
        """
        wasted = 0
        while True:
            have = path.stat().st_size if path.exists() else 0
            if have > size:
                path.unlink()
                have = 0
            error = None
            if have < size or not path.exists():
                error = self._append(digest, size, path, have, advance)
            now = path.stat().st_size if path.exists() else 0
            if now == size:
                break
            wasted = 0 if now > have else wasted + 1
            if wasted >= _TRIES:
                raise error or RegistryError(
                    f"{self.host}: blob {digest[:19]} ends early", got=f"{now} bytes", expected=size
                )
            time.sleep(_pause_s(wasted))
        found = f"sha256:{sha256_of(path)}"
        if found != digest:
            path.unlink()
            raise RegistryError(f"{self.host}: blob of another digest", got=found, expected=digest)

    def _append(
        self, digest: str, size: int, path: Path, have: int, advance: Callable[[int], None]
    ) -> RegistryError | None:
        """Request the rest of a blob and append it; return the error that ended it early."""
        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            with self._send("GET", f"/blobs/{digest}", headers=headers) as answer:
                if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                    raise RegistryError(f"{self.host}: sends another range than requested")
                if answer.status != 206:  # all of it: nothing was there, or the registry has no ranges
                    advance(-have)
                    have = 0
                with path.open("ab" if have else "wb") as file:
                    while have <= size and (chunk := answer.read(_READ_BYTES)):
                        have += len(chunk)
                        if have > size:
                            raise RegistryError(
                                f"{self.host}: blob {digest[:19]} is too long", expected=f"{size} bytes"
                            )
                        file.write(chunk)
                        advance(len(chunk))
        except (http.client.HTTPException, TimeoutError, ssl.SSLError, ConnectionError) as found:
            return RegistryError(f"{self.host}: connection lost", got=type(found).__name__)
        return None

    def has_blob(self, digest: str) -> bool:
        """Return whether the repository has a blob.

        Raises:
            RegistryError: the registry fails.
        """
        try:
            with self._send("HEAD", f"/blobs/{digest}"):
                return True
        except RegistryError as error:
            if error.status != 404:
                raise
            return False

    def upload(self, digest: str, size: int, read: Callable[[int, int], bytes]) -> None:
        """Upload a blob in parts. After a failure the registry is asked how far it came; it may begin anew.

        Args:
            digest: digest of the blob.
            size: its size, bytes.
            read: returns bytes of it: (offset, length) -> content.

        Raises:
            RegistryError: the registry fails again and again, or finds another digest.
        """
        place = self._new_upload()
        offset, wasted = 0, 0
        while offset < size:
            part = read(offset, min(_UPLOAD_BYTES, size - offset))
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{offset}-{offset + len(part) - 1}",
                "Content-Length": str(len(part)),
            }
            try:
                with self._send("PATCH", place, headers=headers, body=part, tries=1) as answer:
                    place = self._location(answer)
                offset += len(part)
                wasted = 0
            except RegistryError as error:
                wasted += 1
                if wasted >= _TRIES or (error.status is not None and error.status not in {*_PASSING, 404, 416}):
                    raise
                time.sleep(_pause_s(wasted))
                place, came = self._resumed(place)
                wasted = 0 if came > offset else wasted
                offset = came
        joined = "&" if urllib.parse.urlsplit(place).query else "?"
        target = f"{place}{joined}digest={urllib.parse.quote(digest)}"
        with self._send("PUT", target, headers={"Content-Length": "0"}, body=b""):
            pass

    def _new_upload(self) -> str:
        with self._send("POST", "/blobs/uploads/", headers={"Content-Length": "0"}, body=b"") as answer:
            return self._location(answer)

    def _resumed(self, place: str) -> tuple[str, int]:
        """Return where a broken upload goes on, and from which byte; docker-registry 2.8 begins a broken one anew."""
        try:
            with self._send("GET", place) as answer:
                end = answer.headers.get("Range", "").rpartition("-")[2]
                return self._location(answer), int(end) + 1 if end.isdecimal() and end != "0" else 0
        except RegistryError as error:
            if error.status not in (400, 404, 416):
                raise
        return self._new_upload(), 0

    def put_manifest(self, version: str, content: bytes, media_type: str) -> str:
        """Store a manifest under a tag or its digest; return its digest.

        Raises:
            RegistryError: the registry fails or refuses.
        """
        headers = {"Content-Type": media_type, "Content-Length": str(len(content))}
        with self._send("PUT", f"/manifests/{version}", headers=headers, body=content):
            return f"sha256:{hashlib.sha256(content).hexdigest()}"

    def _location(self, answer: Any) -> str:
        given = str(answer.headers.get("Location", ""))
        place = urllib.parse.urljoin(f"{self._base}/blobs/uploads/", given)
        ours, theirs = urllib.parse.urlsplit(self._base), urllib.parse.urlsplit(place)
        if theirs.scheme != ours.scheme and theirs.netloc == ours.netloc:  # behind a proxy that ends TLS
            place = urllib.parse.urlunsplit(theirs._replace(scheme=ours.scheme))
        elif theirs.scheme not in ("https", ours.scheme):
            raise RegistryError(f"{self.host}: sends uploads to another scheme", got=theirs.scheme)
        return place

    def _read(self, answer: Any, most: int) -> bytes:
        try:
            content: bytes = answer.read(most)
        except (http.client.HTTPException, OSError) as error:
            raise RegistryError(f"{self.host}: connection lost", got=type(error).__name__) from error
        length = answer.headers.get("Content-Length", "")
        if length.isdecimal() and len(content) < min(int(length), most):
            raise RegistryError(f"{self.host}: answer ends early", got=f"{len(content)} bytes", expected=length)
        return content

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        tries: int = _TRIES,
    ) -> Any:
        """Send a request; return the response, to be closed.

        Raises:
            RegistryError: no response, or one that says no.
        """
        address = path if "://" in path else self._base + path
        authorized = False
        tried = 0
        while True:
            tried += 1
            request = urllib.request.Request(address, data=body, method=method)  # noqa: S310 - http or https, by `_base`
            for name, value in {"User-Agent": _USER_AGENT, **(headers or {})}.items():
                request.add_header(name, value)
            same_host = urllib.parse.urlsplit(address).netloc == urllib.parse.urlsplit(self._base).netloc
            if self._authorization is not None and same_host:
                request.add_unredirected_header("Authorization", self._authorization)
            try:
                return self._opener.open(request, timeout=self._timeout_s)
            except urllib.error.HTTPError as answer:
                with answer:
                    if answer.code == 401 and not authorized and same_host:
                        authorized = True
                        tried -= 1
                        self._authorize(answer.headers.get_all("WWW-Authenticate") or [])
                        continue
                    if answer.code not in _PASSING or tried >= tries:
                        raise self._refused(answer, method) from None
                    time.sleep(_pause_s(tried, answer.headers.get("Retry-After")))
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                if tried >= tries or _is_of_certificates(error):
                    raise self._unreachable(error) from error
                time.sleep(_pause_s(tried))

    def _authorize(self, challenges: list[str]) -> None:
        """Answer the registry's challenge: Basic, or a token from the server that it names."""
        for challenge in challenges:
            scheme, _, rest = challenge.partition(" ")
            if scheme.lower() == "bearer":
                self._authorization = f"Bearer {self._token(dict(_FIELD.findall(rest)))}"
                return
            if scheme.lower() == "basic" and self._credentials.basic is not None:
                self._authorization = self._credentials.basic
                return

    def _token(self, fields: Mapping[str, str]) -> str:
        realm = fields.get("realm", "")
        parts = urllib.parse.urlsplit(realm)
        local = urllib.parse.urlsplit(self._base).scheme == "http"
        if parts.scheme != "https" and not (local and parts.scheme == "http"):
            raise RegistryError(f"{self.host}: its authorisation server has no TLS", got=realm)
        query = {key: fields[key] for key in ("service", "scope") if fields.get(key)}
        query.setdefault("scope", f"repository:{self._name}:pull")
        if self._credentials.identity:
            form = {**query, "grant_type": "refresh_token", "refresh_token": self._credentials.identity}
            request = urllib.request.Request(  # noqa: S310 - checked above
                realm, data=urllib.parse.urlencode({**form, "client_id": _USER_AGENT}).encode(), method="POST"
            )
        else:
            joined = "&" if parts.query else "?"
            request = urllib.request.Request(f"{realm}{joined}{urllib.parse.urlencode(query)}")  # noqa: S310
            if self._credentials.basic is not None:
                request.add_unredirected_header("Authorization", self._credentials.basic)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                found = json.loads(answer.read(1 << 20))
                token = found.get("token") or found["access_token"]
        except urllib.error.HTTPError as answer:
            with answer:
                raise RegistryError(
                    f"{self.host}: login refused", got=f"HTTP {answer.code}", fix=f"docker login {self.host}"
                ) from None
        except (OSError, ValueError, KeyError, AttributeError, http.client.HTTPException) as error:
            raise RegistryError(f"{self.host}: no token", got=type(error).__name__) from None
        return str(token)

    def _refused(self, answer: urllib.error.HTTPError, method: str) -> RegistryError:
        reasons = ""
        with suppress(OSError, ValueError, AttributeError, TypeError, http.client.HTTPException):
            errors = json.loads(answer.read(1 << 16))["errors"]
            reasons = "; ".join(f"{one['code']}: {one.get('message', '')}" for one in errors[:3])
        got = f"HTTP {answer.code}" + (f", {reasons}" if reasons else "")
        if answer.code in (401, 403):
            fix = f"docker login {self.host}, or set {VARIABLES[0]} and {VARIABLES[1]}"
            return RegistryError(f"{self.host}: access refused", got=got, fix=fix, status=answer.code)
        if answer.code == 404:
            return RegistryError(f"{self.host}/{self._name}: not found", got=got, status=404)
        return RegistryError(f"{self.host}: {method} failed", got=got, status=answer.code)

    def _unreachable(self, error: BaseException) -> RegistryError:
        reason = getattr(error, "reason", error)
        if _is_of_certificates(error):
            return RegistryError(
                f"{self.host}: certificate not accepted",
                got=f"{getattr(reason, 'verify_message', reason)}; this machine's clock says "
                f"{datetime.now(timezone.utc).isoformat(timespec='seconds')}",
                fix="set the clock; for a private authority set SSL_CERT_FILE to its certificate",
            )
        wrong = "WRONG_VERSION_NUMBER" in str(reason)
        return RegistryError(
            f"{self.host}: cannot be reached",
            got=reason,
            fix="a registry without TLS requires --plain-http" if wrong else None,
        )


def _is_of_certificates(error: BaseException) -> bool:
    return isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError)


def _pause_s(tried: int, told: str | None = None) -> float:
    """Return the time before the next try, seconds: as the registry told, else twice as long each time."""
    if told is not None and told.isdecimal():
        return min(float(told), _LONGEST_PAUSE_S)
    return float(min(_FIRST_PAUSE_S * 2 ** (tried - 1), _LONGEST_PAUSE_S))
