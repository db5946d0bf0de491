"""What a tap costs per streamed chunk: `python benchmarks/taps.py` prints microseconds, the best of several rounds."""

import time
from collections.abc import Callable

from app.providers.anthropic import AnthropicTap
from app.providers.openai_tap import OpenAITap
from app.providers.protocol import StreamTap
from app.providers.responses import ResponsesTap

CHUNKS = 20_000
ROUNDS = 7

CHAT = (
    b'data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,'
    b'"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_06737a9306","choices":'
    b'[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}]%s}\n\n'
)
MESSAGES = (
    b"event: content_block_delta\ndata: "
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" token"}}\n\n'
)
RESPONSES = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":7,'
    b'"item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c5","output_index":0,"content_index":0,"delta":" token",'
    b'"logprobs":[]}\n\n'
)
CASES: dict[str, tuple[Callable[[], StreamTap], bytes]] = {
    "chat, usage not in chunks": (lambda: OpenAITap(hide_usage=False), CHAT % b""),
    "chat, usage:null passes": (lambda: OpenAITap(hide_usage=False), CHAT % b',"usage":null'),
    "chat, usage:null removed": (lambda: OpenAITap(hide_usage=True), CHAT % b',"usage":null'),
    "chat, usage in every chunk": (
        lambda: OpenAITap(hide_usage=False),
        CHAT % b',"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}',
    ),
    "messages": (AnthropicTap, MESSAGES),
    "responses": (ResponsesTap, RESPONSES),
}


def measure(open_tap: Callable[[], StreamTap], reads: list[bytes]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        feed = open_tap().feed
        start = time.perf_counter()
        for read in reads:
            feed(read)
        best = min(best, time.perf_counter() - start)
    return best / CHUNKS * 1e6


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def main() -> None:
    print(f"{'µs per chunk':30}{'as events':>12}{'16 a read':>12}{'cut badly':>12}")
    for name, (open_tap, chunk) in CASES.items():
        whole = measure(open_tap, [chunk] * CHUNKS)
        many = measure(open_tap, [chunk * 16] * (CHUNKS // 16))
        badly = measure(open_tap, cut(chunk * CHUNKS, len(chunk) - 1))
        print(f"{name:30}{whole:12.2f}{many:12.2f}{badly:12.2f}")


if __name__ == "__main__":
    main()
