"""Stub."""

HEALTH_HANDLERS = []
