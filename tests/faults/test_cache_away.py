"""The caches while Postgres is stopped or frozen: a process goes on with what it has in memory, and nobody waits."""

import time

import pytest

from tests.faults.serving import chat, note
from tests.faults.test_database_away import frozen, gateway, stopped

__all__ = ["gateway"]

PATIENCE_MS = 50
SLACK_MS = 150
CALLS = 40


def ask(client, text, **headers):
    """Return the status of the cache, and the milliseconds that the gateway took for itself."""
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    began = time.monotonic()
    answer = client.post("/v1/chat/completions", json=chat(text, temperature=0), headers=lines)
    assert answer.status_code == 200, answer.text
    took = (time.monotonic() - began) * 1000
    return answer.headers["x-aihub-cache-status"], took


@pytest.mark.parametrize("away", [stopped, frozen], ids=["stopped", "frozen"])
def test_the_caches_without_postgres(gateway, postgres, folder, away):
    """What is in memory is a hit, what is not is a miss within the patience of one look-up, similar or not."""
    client = gateway.client(gateway.keys[-1])
    assert ask(client, "What is the capital of Italy?", x_aihub_semantic="on")[0] == "miss"
    assert ask(client, "held in memory")[0] == "miss"
    time.sleep(0.5)
    assert ask(client, "what's the capital of Italy", x_aihub_semantic="on")[0] == "semantic-hit"
    with away(postgres, folder / "pg"):
        first = ask(client, "asked while it is away")
        assert first[0] == "miss"
        assert first[1] < PATIENCE_MS + SLACK_MS
        hits = [ask(client, "held in memory") for _ in range(CALLS)]
        assert {status for status, _ in hits} == {"hit"}
        misses = [ask(client, f"new {n}") for n in range(CALLS)]
        assert {status for status, _ in misses} == {"miss"}
        again = [ask(client, f"new {n}") for n in range(CALLS)]
        assert {status for status, _ in again} == {"hit"}
        similar = [ask(client, "tell me the capital of Italy", x_aihub_semantic="on") for _ in range(3)]
        assert similar[0][0] == "miss"
        worst = max(took for _, took in (*hits, *misses, *again, *similar))
        note(f"first {first[1]:.0f} ms, worst {worst:.0f} ms")
        assert worst < PATIENCE_MS + SLACK_MS
