"""The built-in mock provider: OpenAI's and Anthropic's HTTP APIs without a model behind them."""
