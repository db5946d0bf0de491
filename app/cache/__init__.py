"""Answers we already have."""
