"""Stub."""

OPENAPI = None
