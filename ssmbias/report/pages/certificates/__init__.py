"""The report of certificates: a table of boxes, figures, and what is proved in words."""

from __future__ import annotations

from ssmbias.report.pages.certificates.report import (
    certificate_table,
    headline,
    load_records,
    write_report,
)

__all__ = ["certificate_table", "headline", "load_records", "write_report"]
