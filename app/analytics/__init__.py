"""What happened: one row per request and what is read from them."""
