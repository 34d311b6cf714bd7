"""Redaction by regular expressions, in time that may be quadratic: the oracle of ``redact.cpp`` and ``address.cpp``."""

from __future__ import annotations

import re

_END = " \t\r\n\f\v"  # ASCII whitespace ends an address and a value; other whitespace may stand around "="
_LOCAL = ("synthetic", "csi", "file")
_SCHEME = re.compile(r"([A-Za-z0-9+.-]*):/+")
_HOST = re.compile(r"((?:\[[^]/\\#?]*\][^/\\#?:]*|[^/\\#?:[][^/\\#?:]*|)(?::[0-9]{0,5})?)([/\\#?].*)?", re.DOTALL)
_BEFORE_SECRET = re.compile(
    "services|webhook|webhooks|webhookb2|hook|hooks|tokens?|keys?|secrets?|auth|access_token|apikey|password|pass|session",
    re.ASCII | re.IGNORECASE,
)
_KEYS = (
    "pw|password|passwd|pwd|pass|passphrase|token|secret|auth|authorization|api[-_]?key|access[-_]?key|secret_key|"
    "signature|sig|credentials"
)
_SECRET = re.compile(
    # (?=(...))(?P=...) is the possessive \s*+, which Python 3.10 does not know.
    rf"(?P<key>(?ai:{_KEYS}))(?P<sign>[\"']?\s*=(?=(?P<behind>\s*))(?P=behind)|[\"']\s*:(?=(?P<after>\s*))(?P=after))"
    rf"(?P<value>(?!=+(?:[{_END}&!,'\"]|\Z))(?:\"[^\"]*\"?|'[^']*'?|[^{_END}&!,'\"]+))"
)

_PLAIN_WORDS = (
    "api|v|models|model|versions|version|streaming|stream|streams|channels|channel|ch|c|s|camera|cameras|"
    "cam|cams|ipcam|video|videos|media|live|movie|series|hls|dash|play|playlist|profile|profiles|onvif|"
    "isapi|psia|h|mpeg|mjpeg|mjpg|unicast|multicast|cgi-bin|image|images|file|files|frame|frames|picture|"
    "pictures|snapshot|snapshots|device|devices|track|main|sub|av|events|nvr|dvr"
)
_PLAIN = re.compile(rf"[0-9]{{1,3}}|(?:{_PLAIN_WORDS})[0-9]*", re.ASCII | re.IGNORECASE)
_STREAM = re.compile(
    r"[0-9]+(\.(?:ts|m3u8|mp4|mkv|avi|flv|mov|mpg|mpeg|webm|mpd|m4v|aac|mp3))?", re.ASCII | re.IGNORECASE
)


def redact(text: str) -> str:
    """Any text with ``***`` in place of its secrets."""
    shown, done = "", 0
    while match := _SCHEME.search(text, done):
        shown += text[done : match.start(1)]
        if not _may_hold_secrets(match[1]):
            shown, done = shown + match[0], match.end()
            continue
        rest = text[match.end() :]
        before = text[max(0, match.start(1) - 1) : match.start(1)]
        closed = rf"[^\n]*?(?={before}(?:[{_END},;:)\]}}>!&|]|\Z))(?!{before}[^{_END}@]*@)"
        quoted = re.match(closed, rest) if before in ("'", '"') else None
        if quoted is not None:
            address = quoted[0]
        else:
            address = _unquoted(rest)
            if _parts(address)[1] is None:
                behind = re.match(rf"(?:(?!:/)[^@\n])*?@[^{_END}]*", rest[len(address) :])
                address += "" if behind is None else behind[0].rstrip(",;:.)]}>'\"")
        shown += match[0] + _shown(match[1], address, bare=False)
        done = match.end() + len(address)
    return _SECRET.sub(r"\g<key>\g<sign>***", shown + text[done:])


def redact_address(text: str) -> str:
    """A text that is one address."""
    return _one(text, bare=False)


def without_credentials(text: str) -> str:
    """A text that is one address, as a name."""
    return _one(text, bare=True)


def _one(text: str, *, bare: bool) -> str:
    match = _SCHEME.match(text)
    if match is not None:
        return match[0] + _shown(match[1], text[match.end() :], bare=bare) if _may_hold_secrets(match[1]) else text
    if re.match(r"[A-Za-z0-9+.-]+:(?!\\)[^@]*@", text) and " ! " not in text:
        return _shown("", text, bare=bare)
    return redact(text)


def _may_hold_secrets(scheme: str) -> bool:
    return len(scheme) > 1 and scheme.lower() not in _LOCAL


def _unquoted(rest: str) -> str:
    found = re.match(rf"[^{_END}]*", rest)
    assert found is not None
    return found[0].rstrip(",;:.)]}>'\"")


def _host(user: str, rest: str) -> re.Match[str] | None:
    """Host and port, and what follows; None if the port, or a host behind a path, is none."""
    found = _HOST.fullmatch(rest)
    return None if found is not None and "/" in user and _looks_random(found[1]) else found


def _parts(address: str) -> tuple[str, re.Match[str] | None]:
    """What stands before the ``@`` of a user, with it; host and port, and what follows."""
    hierarchy, question, query = address.partition("?")
    user, at, rest = hierarchy.rpartition("@")
    found = _host(user, rest)
    if (found is None or not found[2]) and "@" in query:
        user, at, rest = address.rpartition("@")
        return user + at, _host(user, rest.partition("?")[0]) and _HOST.fullmatch(rest)
    return user + at, found and _HOST.fullmatch(rest + question + query)


def _shown(scheme: str, address: str, *, bare: bool) -> str:
    user, parts = _parts(address)
    if parts is None:
        return "***"
    before, hash_, fragment = (parts[2] or "").partition("#")
    path, question, query = before.partition("?")
    shown = parts[1] + _path(path, _panel_user(path) if scheme.lower() not in ("mqtt", "mqtts") else ())
    if bare:
        return shown
    if question:
        shown += "?" + re.sub(r"[^&;]+", lambda found: _pair(found[0]), query)
    return ("***@" if user else "") + shown + (f"{hash_}***" if fragment else "")


def _panel_user(path: str) -> tuple[int, ...]:
    """Where user and password of a panel of TV over IP begin in a path."""
    segments = list(re.finditer(r"[^/\\]+", path))
    names = [segment[0] for segment in segments]
    film = next((i for i, name in enumerate(names[:-3]) if re.fullmatch("(?ai:movie|series|timeshift)", name)), None)
    if film is not None:
        return segments[film + 1].start(), segments[film + 2].start()
    stream = _STREAM.fullmatch(names[-1]) if len(names) >= 3 else None
    if stream is None or _PLAIN.fullmatch(names[-3]) or (stream[1] is None and _PLAIN.fullmatch(names[-2])):
        return ()
    return segments[-3].start(), segments[-2].start()


def _path(path: str, secrets: tuple[int, ...]) -> str:
    shown = ""
    for match in re.finditer(r"([/\\])([^/\\]*)", path):
        slash, segment = match.groups()
        if "=" in segment:
            return shown + slash + _pair(segment)
        if ":" in segment:
            return shown + slash + "***"
        shown += slash + ("***" if match.start(2) in secrets or _looks_random(segment) else segment)
        if _BEFORE_SECRET.fullmatch(segment) and len(path) > match.end() + 1:
            return shown + path[match.end()] + "***"
    return shown


def _pair(pair: str) -> str:
    key, _, value = pair.partition("=")
    shown = value.strip("=") and re.fullmatch(r"[A-Za-z0-9_.\[\]-]{1,32}", key) and not _looks_random(key)
    return f"{key}=***" if shown else "***"


def _looks_random(text: str) -> bool:
    return any(_is_random_piece(piece) for piece in re.findall(r"[A-Za-z0-9_-]+", text))


def _is_random_piece(piece: str) -> bool:
    small, large, digits = (re.search(kind, piece) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    if len(piece) >= 20 and small and large and digits:
        return True
    if re.fullmatch("[0-9a-fA-F-]+", piece) and digits and (small or large) and len(piece.replace("-", "")) >= 16:
        return True
    return any(len(word) >= 20 or (len(word) >= 12 and _is_mixed(word)) for word in re.split("[-_]", piece))


def _is_mixed(word: str) -> bool:
    kinds = len(re.findall("(?=[0-9][^0-9]|[^0-9][0-9])", word))
    return kinds >= 2 or len(re.findall("[a-z][A-Z]", word)) >= 3
