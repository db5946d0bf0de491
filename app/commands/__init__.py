"""The groups of the `relaycore` command, a module each."""
