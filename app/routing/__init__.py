"""Which deployment is tried next, and whether again: pure decisions and the health they rest on."""
