"""Telling of batches that are over."""
