"""report.html: what report.json says, with the recipe and the contact sheet, to be looked at. One file, no requests."""

from loramerge.reports.page.page import html, write_page

__all__ = ["html", "write_page"]
