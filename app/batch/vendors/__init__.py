"""Batches and files in OpenAI's and Anthropic's words."""
