"""Providers that answer calls and have no batches, however they say so: HTTP servers on ports of their own."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
FILE = {"id": "file-1", "object": "file", "status": "processed"}
BATCH = {"id": "batch_1", "object": "batch", "status": "in_progress"}
DONE = {**BATCH, "status": "completed", "output_file_id": "file-2"}
SAYINGS: dict[str, tuple[int, str]] = {
    "404": (404, '{"error": {"message": "no such route"}}'),
    "405": (405, ""),
    "401": (401, "{}"),
    "html": (200, "<html>welcome</html>"),
    "chat": (200, json.dumps(CHAT)),
    "message": (200, json.dumps(MESSAGE)),
    "file": (200, json.dumps(FILE)),
    "batch": (200, json.dumps(BATCH)),
    "done": (200, json.dumps(DONE)),
}


class OddVendor:
    """`answers`: a saying by the beginning of "METHOD path", the longest that fits; "hang" never ends, nor "drip"."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.url = ""
        self.calls: Counter[str] = Counter()
        self.over = threading.Event()

    def find(self, handler: BaseHTTPRequestHandler) -> str:
        """Return the saying that a request gets."""
        name = f"{handler.command} {handler.path}"
        self.calls[name] += 1
        return self.answers[max((one for one in self.answers if name.startswith(one)), key=len)]


@contextmanager
def open_odd_vendor(answers: dict[str, str]) -> Iterator[OddVendor]:
    """Run one until the context ends."""
    vendor = OddVendor(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            saying = vendor.find(self)
            if saying == "hang":
                vendor.over.wait(120)
                return
            if saying == "drip":
                self.drip()
                return
            status, text = SAYINGS[saying]
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def drip(self) -> None:
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            while not vendor.over.wait(0.1):
                self.wfile.write(b"1\r\n\n\r\n")

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names are the library's

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    vendor.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield vendor
    finally:
        vendor.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
