"""What providers speak: sans-I/O readers and writers, one file per dialect, one row per vendor."""
