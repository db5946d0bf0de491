"""The keys of a running process: opened with its secret key, and followed when a rotation changes them."""

from sqlalchemy import Connection

from app.access.directory import Directory
from app.access.keys import hash_key
from app.catalog.secrets import Vault
from app.db.audit import Auditor
from app.db.connection import Connection as HotConnection
from app.db.keyring_store import FollowedKeyring
from app.errors import UnavailableError


class ProcessKeys:
    """Holds what works with keys: the vault and the auditor. They are empty until the first snapshots are loaded."""

    def __init__(self, secret_key: str) -> None:
        self._keyring = FollowedKeyring(secret_key)
        self.process_name = self._keyring.process_name
        self.vault = Vault()
        self.auditor = Auditor()

    async def load_vault(self, connection: HotConnection) -> None:
        """Take over the vault keys as they are now; to be called after the secrets were read that they open."""
        self.vault.load((await self._keyring.load(connection)).vault_keys)

    async def load_pepper(self, connection: HotConnection, directory: Directory, admin_key: str | None) -> bytes | None:
        """Give auditor and directory their keys, and return the hash of a given admin key."""
        keyring = await self._keyring.load(connection)
        self.auditor.load(keyring.audit_key)
        directory.load_pepper(keyring.pepper)
        return hash_key(keyring.pepper, admin_key) if admin_key is not None else None

    def open_vault(self, connection: Connection) -> Vault:
        """Return the vault as a transaction sees it."""
        keyring = self._keyring.find_now(connection)
        if keyring is None:
            raise UnavailableError(
                "The secret key of this process was replaced: it has to be restarted with the new one."
            )
        return Vault(*keyring.vault_keys)
