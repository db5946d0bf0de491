"""What a start prints: the keys that were just made, and three lines to paste."""

from app.start import Ready

UNKNOWN_KEY = "$RELAYCORE_API_KEY"
OPENAI_EXAMPLE = "openai/gpt-4o-mini"
ANTHROPIC_EXAMPLE = "claude-haiku-4-5"
MOCK_EXAMPLE = "mock/echo"


def write_keys(ready: Ready) -> list[str]:
    """Return the lines that show the keys which were made just now."""
    lines: list[str] = []
    if ready.admin_key is not None:
        lines += ["Admin key, shown this once; keep it:", f"  {ready.admin_key}", ""]
    if ready.first_key is not None:
        lines += ["First API key, shown this once (`relaycore keys create` makes more):", f"  {ready.first_key}", ""]
    return lines


def write_greeting(ready: Ready, address: str) -> str:
    """Return the text for the terminal of whoever started the gateway at `address`."""
    lines = [f"RelayCore is ready at {address} (documentation: {address}/docs)", ""]
    if not ready.providers:
        lines += [
            "No provider is configured, so the built-in mock provider answers (mock/echo, mock/story, …).",
            "For real models set OPENAI_API_KEY or ANTHROPIC_API_KEY and start again.",
            "",
        ]
    key = ready.first_key or UNKNOWN_KEY
    return "\n".join([*lines, "Three lines to paste:", *write_examples(address, key, ready.providers), ""])


def write_examples(address: str, key: str, providers: tuple[str, ...]) -> list[str]:
    """Return one shell line each for curl, the OpenAI SDK and the Anthropic SDK."""
    chat = OPENAI_EXAMPLE if "openai" in providers else (f"{providers[0]}/MODEL" if providers else MOCK_EXAMPLE)
    messages = ANTHROPIC_EXAMPLE if "anthropic" in providers else chat
    python = "python -c '{}'" if key != UNKNOWN_KEY else 'python -c "{}"'
    quote = '"' if key != UNKNOWN_KEY else "'"
    openai = (
        'from openai import OpenAI; print(OpenAI(base_url="ADDRESS/v1", api_key="KEY").chat.completions.create('
        'model="MODEL", messages=[dict(role="user", content="Hello")]).choices[0].message.content)'
    )
    anthropic = (
        'from anthropic import Anthropic; print(Anthropic(base_url="ADDRESS", api_key="KEY").messages.create('
        'model="MODEL", max_tokens=100, messages=[dict(role="user", content="Hello")]).content[0].text)'
    )
    body = f'{{"model":"{chat}","messages":[{{"role":"user","content":"Hello"}}]}}'
    curl = (
        f'curl {address}/v1/chat/completions -H "Authorization: Bearer {key}" '
        f"-H 'Content-Type: application/json' -d '{body}'"
    )
    filled = [
        line.replace('"', quote).replace("ADDRESS", address).replace("KEY", key).replace("MODEL", model)
        for line, model in ((openai, chat), (anthropic, messages))
    ]
    return [curl, *(python.format(line) for line in filled)]
