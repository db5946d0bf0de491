"""What can be called, what it costs and how we are configured."""
