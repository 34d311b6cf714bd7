"""Signed bundles: which files a trusted signature covers, checked before anything of the bundle is used."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgeproof_runtime.bundle.attachments import FOLDER as ATTACHMENTS
from edgeproof_runtime.bundle.content import digest_of
from edgeproof_runtime.bundle.envelope import read_envelope
from edgeproof_runtime.bundle.replacing import find_bundle
from edgeproof_runtime.bundle.trust_policy import TrustPolicy
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.system.documents import MAX_BYTES
from edgeproof_runtime.system.regular import is_folder, read_regular
from edgeproof_runtime.system.spec import SPEC

__all__ = ["FOLDER", "VARIABLE", "Signed", "covered_files", "files_of", "require_signed", "verified"]

FOLDER: str = SPEC["signing"]["folder"]
VARIABLE: str = SPEC["signing"]["variable"]
"""Environment variable that names a public key, certificates or a policy: bundles must then be signed."""

_MOST_SIGNATURES = 32
_MOST_FILES = 65536
_NAMED = 5
_ATTACHED = re.compile(rf"{ATTACHMENTS}/[0-9a-f]{{64}}\.[^/]+")
_LOG = logging.getLogger("edgeproof.bundle")


@dataclass(frozen=True, slots=True)
class Signed:
    """What a trusted signature says of a bundle.

    Attributes:
        signer: who signed: the signer's name in the policy, the file of a key, and the subject of a certificate.
        signature: the signature's file in the bundle.
        signed_at: when, UTC, by the signer's clock; None if the signature does not say.
        digests: sha256 of every signed file by its name in the bundle's folder.
        trust: key, certificates or policy that it was checked with.
    """

    signer: str
    signature: str
    signed_at: str | None
    digests: Mapping[str, str]
    trust: Path

    @property
    def note(self) -> str:
        """One line for people."""
        return f"signed by {self.signer}" + ("" if self.signed_at is None else f" at {self.signed_at}")

    def covers(self, name: str, sha256: str) -> bool:
        """Return whether a file was signed with this content."""
        return self.digests.get(name) == sha256

    def require(self, name: str, sha256: str) -> None:
        """Refuse a file that was not signed with this content.

        Raises:
            BundleError: it was not.
        """
        if not self.covers(name, sha256):
            raise BundleError(
                f"{name}: changed after it was signed" if name in self.digests else f"{name}: not signed",
                got=f"sha256 {sha256}",
                expected=f"sha256 {self.digests[name]}" if name in self.digests else f"a file of {self.signature}",
            )


def require_signed(bundle: Path, trust: Path, *, now: datetime | None = None) -> Signed:
    """Check that a trusted signature covers a bundle: every file, with its content.

    Attachments that were added after the signature are no error. They are not among the `Signed.digests`, and a reader
    must not use them unless this machine made them; see `edgeproof_runtime.bundle.contents`.

    Args:
        bundle: the bundle's folder.
        trust: a PEM public key (ECDSA on P-256, P-384 or P-521), PEM certificates of authorities, or a policy,
            NAME.toml.
        now: time to check validity at; None for this machine's clock.

    Raises:
        BundleError: not signed, no valid signature by a trusted signer, or files were changed, added, removed or
            replaced by links since.
        InputError: the key, certificates or policy cannot be read.
        UnavailableError: the package that verifies this kind of signature is not installed.
    """
    policy = TrustPolicy.read(trust)
    root = find_bundle(bundle)
    if not is_folder(root):
        raise BundleError(f"{bundle}: not a bundle", got="no such folder")
    wanted = ", ".join(signer.name for signer in policy.signers)
    names = tuple(files_of(root))
    signatures = [name for name in names if name.startswith(f"{FOLDER}/")]
    fix = f"edgeproof sign {bundle} --key PRIVATE.pem, where the key is kept; --trust names its public key"
    if not signatures:
        raise BundleError(
            f"{bundle}: not signed", got=f"no file in {FOLDER}/", expected=f"a signature by {wanted}", fix=fix
        )
    digests: dict[str, str] = {}
    refusals = []
    for name in signatures[:_MOST_SIGNATURES]:
        try:
            signed = verified(_content(root, name), name, policy, now or datetime.now(timezone.utc))
            _check_names(signed, names)
            _check_contents(root, signed, digests)
        except BundleError as error:
            refusals.append(f"{name}: {_clause(error)}")
        else:
            _LOG.info("%s: %s", bundle, signed.note)
            return signed
    raise BundleError(
        f"{bundle}: no valid signature", got="; ".join(refusals), expected=f"a signature by {wanted}", fix=fix
    )


def files_of(root: Path) -> Iterator[str]:
    """List the files of a bundle's folder by name, in order; a writer's temporary files in attachments/ are left out.

    Raises:
        BundleError: a symbolic link, something that is not a regular file, or too many files.
    """
    found: list[str] = []
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = Path(entry.path).relative_to(root).as_posix()
                    if entry.is_symlink():
                        raise BundleError(f"{root}: holds a symbolic link", got=repr(name), expected="regular files")
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif not entry.is_file(follow_symlinks=False):
                        raise BundleError(f"{root}: not a regular file", got=repr(name))
                    elif not name.startswith(f"{ATTACHMENTS}/."):
                        found.append(name)
        except OSError as error:
            raise BundleError(f"{folder}: cannot be read", got=error) from error
        if len(found) > _MOST_FILES:
            raise BundleError(f"{root}: too many files", got=f"more than {_MOST_FILES}")
    yield from sorted(found)


def covered_files(root: Path) -> frozenset[str]:
    """Return the files that any signature in a bundle names, unverified: a writer must keep them."""
    covered: set[str] = set()
    try:
        names = sorted((root / FOLDER).iterdir())
    except OSError:
        return frozenset()
    for path in names[:_MOST_SIGNATURES]:
        try:
            covered |= set(read_envelope(read_regular(path, MAX_BYTES), path.name).digests())
        except (OSError, BundleError):
            continue
    return frozenset(covered)


def verified(content: bytes, name: str, policy: TrustPolicy, now: datetime) -> Signed:
    """Check a signature file: who of a policy signed it, and what it covers.

    Raises:
        BundleError: it is not a signature of this format, or not by a trusted signer.
        UnavailableError: the package that verifies this kind of signature is not installed.
    """
    envelope = read_envelope(content, Path(name).name)
    reasons = []
    for signer in policy.signers:
        try:
            signed = Signed(
                signer.verify(envelope, content, now), name, envelope.signed_at(), envelope.digests(), policy.path
            )
            _check_time(signed, policy)
        except InputError as error:
            reasons.append(f"{signer.name}: {_clause(error)}")
        else:
            return signed
    raise BundleError("; ".join(reasons))


def _content(root: Path, name: str) -> bytes:
    try:
        return read_regular(root / name, MAX_BYTES)
    except OSError as error:
        raise BundleError("cannot be read", got=error) from error


def _check_time(signed: Signed, policy: TrustPolicy) -> None:
    after = policy.signed_after
    if after is not None and (signed.signed_at is None or signed.signed_at < after):
        raise BundleError(
            "signed too long ago", got=signed.signed_at or "a signature without a time", expected=f"since {after}"
        )


def _check_names(signed: Signed, names: tuple[str, ...]) -> None:
    present = {name for name in names if not name.startswith(f"{FOLDER}/")}
    missing = sorted(set(signed.digests) - present)
    added = sorted(name for name in present - set(signed.digests) if not _ATTACHED.fullmatch(name))
    if missing:
        raise BundleError("signed files are missing", got=_some(missing))
    if added:
        raise BundleError("holds files that were not signed", got=_some(added))
    if "bundle.json" not in signed.digests:
        raise BundleError("does not cover bundle.json")


def _check_contents(root: Path, signed: Signed, digests: dict[str, str]) -> None:
    changed = []
    for name, expected in signed.digests.items():
        if name not in digests:
            digests[name] = digest_of(root, name)
        if digests[name] != expected:
            changed.append(name)
    if changed:
        raise BundleError("files were changed after they were signed", got=_some(changed))


def _some(names: list[str]) -> str:
    more = "" if len(names) <= _NAMED else f" and {len(names) - _NAMED} more"
    return ", ".join(map(repr, names[:_NAMED])) + more


def _clause(error: InputError) -> str:
    found = (("got", error.got), ("expected", error.expected))
    facts = ", ".join(f"{name} {' '.join(text.split())}" for name, text in found if text is not None)
    return f"{error.what} ({facts})" if facts else error.what
