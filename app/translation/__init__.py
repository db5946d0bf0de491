"""Between dialects: every client dialect to every provider dialect, through one canonical call."""
