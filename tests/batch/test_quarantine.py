"""When a request that may kill its worker is claimed, and what waits for it."""

from app.batch.quarantine import ALONE_SECONDS, BUSY_SECONDS, QUIET_SECONDS, Quarantine


def test_without_suspects_all_goes_on():
    """Nothing waits for what is not there."""
    assert Quarantine().choose(0.0, waiting=False, running=9, alone_since=None) == "others"


def test_an_idle_worker_takes_the_suspect_at_once():
    """Where nothing is under way there is nobody to suffer."""
    assert Quarantine().choose(0.0, waiting=True, running=0, alone_since=None) == "suspect"


def test_a_busy_worker_comes_to_rest_first():
    """Nothing new begins for a while; when all is over the suspect is claimed."""
    one = Quarantine()
    assert one.choose(0.0, waiting=True, running=3, alone_since=None) == "nothing"
    assert one.choose(QUIET_SECONDS - 1, waiting=True, running=1, alone_since=None) == "nothing"
    assert one.choose(QUIET_SECONDS - 1, waiting=True, running=0, alone_since=None) == "suspect"


def test_long_calls_do_not_stop_everything():
    """When what is under way does not end soon, all goes on as ever for a while, and then it is tried again."""
    one = Quarantine()
    one.choose(0.0, waiting=True, running=1, alone_since=None)
    assert one.choose(QUIET_SECONDS, waiting=True, running=1, alone_since=None) == "others"
    assert one.choose(QUIET_SECONDS + BUSY_SECONDS - 1, waiting=True, running=1, alone_since=None) == "others"
    assert one.choose(QUIET_SECONDS + BUSY_SECONDS, waiting=True, running=1, alone_since=None) == "nothing"


def test_a_suspect_under_way_is_alone_but_not_for_ever():
    """While it runs nothing else begins; after a while it is no danger any more."""
    one = Quarantine()
    assert one.choose(1.0, waiting=True, running=1, alone_since=0.0) == "nothing"
    assert one.choose(1.0, waiting=False, running=1, alone_since=0.0) == "nothing"
    assert one.choose(ALONE_SECONDS, waiting=False, running=1, alone_since=0.0) == "others"
