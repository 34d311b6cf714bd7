"""Check what this machine supports, what is missing and how to fix it. Read-only: installs nothing."""

from edgeproof.doctor.findings import Finding, document, findings
from edgeproof.doctor.machine import Camera, Machine

__all__ = ["Camera", "Finding", "Machine", "document", "findings"]
