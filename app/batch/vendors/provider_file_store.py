"""Whose the files are that went through the gateway to a provider."""

from typing import cast
from uuid import UUID

from app.db.connection import Connection

INSERT = """
INSERT INTO provider_files (provider, file_id, user_id) VALUES (%s, %s, %s) ON CONFLICT (provider, file_id) DO NOTHING
"""
FIND = "SELECT user_id FROM provider_files WHERE provider = %s AND file_id = %s"
DELETE = "DELETE FROM provider_files WHERE provider = %s AND file_id = %s"


async def insert_provider_file(connection: Connection, provider: str, file_id: str, user_id: UUID) -> None:
    """Note who uploaded a file; one that is somebody's stays theirs."""
    await connection.execute(INSERT, (provider, file_id, user_id))


async def find_provider_file(connection: Connection, provider: str, file_id: str) -> UUID | None:
    """Return who uploaded a file; None when it did not come through the gateway."""
    line = await (await connection.execute(FIND, (provider, file_id))).fetchone()
    return None if line is None else cast(UUID, line[0])


async def delete_provider_file(connection: Connection, provider: str, file_id: str) -> None:
    """Note that a file is gone."""
    await connection.execute(DELETE, (provider, file_id))
