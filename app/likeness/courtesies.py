"""What stands before and after a question and asks nothing."""


def _read_phrases(text: str) -> tuple[tuple[str, ...], ...]:
    """Read phrases between bars; a line may end anywhere between two."""
    return tuple(tuple(phrase.split()) for phrase in text.strip().replace("\n", "|").split("|"))


# Taken away as long as something is left.
OPENERS = _read_phrases("""
can you please tell me|could you please tell me|would you please tell me|can you tell me|could you tell me
would you tell me|will you tell me|please tell me|can you explain to me|could you explain to me
can you please explain|could you please explain|can you explain|could you explain|please explain to me
please explain|explain to me|can you let me know|could you let me know|please let me know|let me know|can you please
could you please|would you please|i would like to know|i want to know|i wanted to know|i need to know
i would love to know|i was wondering|i am wondering|i wonder|just wondering|may i know|may i ask|can i ask
could i ask|can i ask you|do you know|do you happen to know|does anyone know|does anybody know|anyone know|any idea
do you have any idea|i have a question|quick question|quick one|hi|hiya|hello|hey|hi team|hello team|hi all
hello all|hey all|hi everyone|hello everyone|greetings|hi there|hello there|hey there|good morning|good afternoon
good evening|dear all|please|so|ok|okay|um|uh|er|hmm|yo|sorry|excuse me|kindly|just|also|and|but|help me understand
i am trying to find out|i am trying to understand|i need help|i need some help|thanks|thank you|can someone tell me
can anyone tell me|could someone tell me|can somebody tell me|can someone explain|can anyone explain
could anyone tell me|tell me please|out of curiosity|by the way|btw|hey guys|guys|sir|madam|morning|afternoon
evening|quick q
""")
# Of these the ones that can be spoken of as well: "thank you in Italian" asks for the words.
GREETINGS = frozenset(
    _read_phrases("""
hi|hiya|hello|hey|hi there|hello there|hey there|good morning|good afternoon|good evening|morning|afternoon|evening
thanks|thank you|sorry|excuse me|please|greetings|yo|ok|okay
""")
)
# After a greeting these do not begin a question.
GOING_ON = frozenset(
    {
        "in",
        "to",
        "for",
        "from",
        "of",
        "as",
        "with",
        "by",
        "at",
        "on",
        "versus",
        "is",
        "was",
        "are",
        "and",
        "or",
        "than",
    }
)
CLOSERS = _read_phrases("""
please|thanks|thank you|thanks a lot|thank you very much|thanks in advance|thank you in advance|cheers|many thanks
thanks so much|thank you so much|thx|if you do not mind|if possible|in your opinion|please help|please advise|help me
help please|help|please and thank you|ok|okay|any idea|any ideas|any help|much appreciated|guys|mate
""")
