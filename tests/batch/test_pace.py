"""How many calls a provider gets at a time."""

from app.batch.pace import LEAST, START, Pace


def answer(pace: Pace, provider: str, count: int) -> None:
    """Have calls answered."""
    for _ in range(count):
        pace.begin(provider)
        pace.succeed(provider)
        pace.end(provider)


def test_it_grows_with_every_answer_until_the_first_refusal():
    """A provider that answers soon has all the calls that the process may have."""
    pace = Pace(16)
    answer(pace, "p", 12)
    assert pace.list_rooms(0.0) == {"p": 16}
    answer(pace, "p", 100)
    assert pace.list_rooms(0.0) == {"p": 16}


def test_a_refusal_halves_it_once_for_calls_made_together():
    """Of refusals that come together one counts, and the provider rests as long as it asks."""
    pace = Pace(16)
    answer(pace, "p", 12)
    for _ in range(5):
        pace.begin("p")
    for _ in range(5):
        pace.slow_down("p", 3.0, 10.0)
        pace.end("p")
    assert pace.list_rooms(12.9) == {"p": 0}
    assert pace.list_rooms(13.0) == {"p": 8}
    answer(pace, "p", 8)
    assert pace.list_rooms(13.0)["p"] in {8, 9}


def test_there_is_always_one():
    """However often it refuses, a provider is asked again."""
    pace = Pace(16)
    for turn in range(20):
        pace.begin("p")
        pace.slow_down("p", 0.5, float(turn))
        pace.end("p")
    assert pace.list_rooms(100.0) == {"p": LEAST}


def test_providers_do_not_slow_each_other_down():
    """A provider that rests is left out, and the others go on."""
    pace = Pace(16)
    answer(pace, "slow", 1)
    answer(pace, "quick", 12)
    pace.begin("slow")
    pace.slow_down("slow", 60.0, 0.0)
    assert pace.list_rooms(1.0) == {"slow": 0, "quick": 16}


def test_who_has_enough_calls_gets_no_more():
    """A provider with as many calls under way as it may have is not asked for more."""
    pace = Pace(16)
    for _ in range(int(START)):
        pace.begin("p")
    assert pace.list_rooms(0.0) == {"p": 0}
    pace.end("p")
    assert pace.list_rooms(0.0) == {"p": 1}
