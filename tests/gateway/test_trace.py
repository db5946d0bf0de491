"""What is noted of a request, and what its row says then."""

import time

from app.errors import BadGatewayError
from app.gateway.trace import Trace
from app.wire.usage import Usage


def test_a_crash_is_no_success():
    """A request that nothing was noted of is a 500."""
    assert Trace().close().status_code == 500


def test_an_answer():
    """The provider's time, the own time and the whole add up; the first byte is within."""
    trace = Trace()
    trace.sending()
    time.sleep(0.02)
    trace.first_byte()
    trace.first_byte()
    time.sleep(0.01)
    trace.received()
    trace.succeed(200, Usage(input_tokens=3))
    row = trace.close()
    assert (row.status_code, row.error_type, row.usage.input_tokens, row.attempts) == (200, None, 3, 1)
    assert 20 <= row.first_byte_ms < 30 <= row.upstream_ms <= row.latency
    assert abs(row.latency - row.upstream_ms - row.overhead_ms) < 0.001
    assert row.billed


def test_nothing_sent():
    """Where no provider was asked nothing is billed and no time is the provider's."""
    trace = Trace()
    trace.succeed(200, Usage(input_tokens=3))
    row = trace.close()
    assert (row.billed, row.upstream_ms, row.attempts) == (False, None, 0)


def test_failing_and_leaving():
    """A failure is noted with its status and kind; who leaves is a 499 whatever was noted before."""
    trace = Trace()
    trace.fail(BadGatewayError("x", code="upstream_disconnected"))
    assert (trace.row.status_code, trace.row.error_type) == (502, "upstream_disconnected")
    trace.leave()
    assert (trace.close().status_code, trace.row.error_type) == (499, "client_left")


def test_an_exchange_that_still_runs():
    """Time that passes while the provider is waited for is not the gateway's own."""
    trace = Trace()
    trace.sending()
    time.sleep(0.02)
    assert trace.overhead_ms() < 10
    assert trace.close().upstream_ms >= 20
