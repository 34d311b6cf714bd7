"""HTML reports: a report's JSON document as one self-contained HTML file."""

from edgeproof.report.html import write_html, write_side_by_side

__all__ = ["write_html", "write_side_by_side"]
