"""Somebody who wants to be told: an HTTP server on a port of its own, which keeps what it was sent."""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class Message:
    """One request as it came."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.path = handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = body
        self.at = time.monotonic()

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def is_signed_with(self, secret: str) -> bool:
        """Check the signature as the specification says, by code that has nothing to do with ours."""
        key = base64.b64decode(secret.split("_", 1)[1])
        text = b".".join([self.id.encode(), self.headers["webhook-timestamp"].encode(), self.body])
        wanted = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        return f"v1,{wanted}" in self.headers["webhook-signature"].split(" ")


class Receiver:
    """What came, and how it is answered: `answer` is called for each request once it is read."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.answer: Answer = say(204)
        self.now = 0
        self.most = 0
        self.url = ""
        self.host = ""
        self._lock = threading.Lock()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        with self._lock:
            self.messages.append(Message(handler, body))
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            self.answer(handler)
        except OSError:
            pass
        finally:
            with self._lock:
                self.now -= 1

    def wait(self, count: int = 1, seconds: float = 10) -> list[Message]:
        end = time.monotonic() + seconds
        while len(self.messages) < count:
            assert time.monotonic() < end, f"{len(self.messages)} of {count} came"
            time.sleep(0.01)
        return self.messages


def say(status: int, *headers: tuple[str, str], body: bytes = b"", after: float = 0) -> Answer:
    """Return an answer."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(after)
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def open_receiver(tls: SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver until the context ends."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    port = server.server_address[1]
    receiver.host = f"127.0.0.1:{port}"
    receiver.url = f"http{'s' if tls else ''}://{receiver.host}/told?token=t0psecret"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
