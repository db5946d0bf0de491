"""Stub."""

DOCS_HANDLERS = []
