"""What this machine can do, what is missing and how to mend it. Looks only; never installs anything."""

from edgeproof.doctor.findings import Finding, findings
from edgeproof.doctor.machine import Camera, Machine

__all__ = ["Camera", "Finding", "Machine", "findings"]
