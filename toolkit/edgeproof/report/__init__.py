"""HTML reports: a report's JSON document as one self-contained HTML file."""

from edgeproof.report.html import write_html

__all__ = ["write_html"]
