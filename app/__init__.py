"""RelayCore: a self-hosted LLM gateway that keeps everything in one Postgres."""
