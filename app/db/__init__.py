"""Postgres: our own embedded server, the engine, tables and the connections of the hot path."""
