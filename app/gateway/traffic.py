"""How many calls of clients are under way in this process."""


class Traffic:
    """The calls of clients; what is not urgent makes room for them."""

    def __init__(self) -> None:
        self.calls = 0
