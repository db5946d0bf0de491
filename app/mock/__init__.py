"""The built-in provider that answers when no other is configured."""
