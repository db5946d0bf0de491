"""Calls for later."""
