"""The hot path: from the bytes of a call to the bytes of its reply."""
