"""The mock's own paths below /mock: what arrived, forgetting it, and answers scripted by a test."""

import msgspec

from app.mock.asgi import Reply, build_json
from app.mock.chaos import Chaos
from app.mock.errors import MockError
from app.mock.state import Script, State

_decoder = msgspec.json.Decoder(Script)
_chaos_decoder = msgspec.json.Decoder(Chaos)


def handle(method: str, path: str, body: bytes, state: State) -> Reply:
    """Answer GET /mock/stats, POST /mock/reset, /mock/next, /mock/batches and /mock/batches/lose."""
    match method, path:
        case "GET", "/mock/stats":
            return build_json(state.build_stats())
        case "POST", "/mock/reset":
            state.reset()
            return build_json({"reset": True})
        case "POST", "/mock/next":
            state.scripts.append(_decoder.decode(body))
            return build_json({"scripted": len(state.scripts)})
        case "POST", "/mock/batches":
            state.chaos = _chaos_decoder.decode(body)
            return build_json({"faults": len(state.chaos.faults)})
        case "POST", "/mock/batches/lose":
            lost = len(state.batches) + len(state.message_batches)
            state.batches.clear()
            state.message_batches.clear()
            return build_json({"lost": lost})
        case _:
            raise MockError(f"Nothing at {method} {path}", status=404, kind="unknown_url")


def play_script(script: Script) -> Reply:
    """Return the reply a test set; one chunk is a whole body, several are sent one by one."""
    headers = tuple((name.lower().encode(), value.encode("latin-1")) for name, value in script.headers)
    if len(script.chunks) == 1:
        return Reply(status=script.status, headers=headers, body=script.chunks[0], behaviour=script.behaviour)
    return Reply(status=script.status, headers=headers, events=iter(script.chunks), behaviour=script.behaviour)
