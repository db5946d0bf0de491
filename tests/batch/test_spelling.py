"""The ways to write a path: what any reader may take for one of ours is one, and only one spelling is plain."""

import pytest

from app.batch.vendors.spelling import is_about, is_plain

OURS = (("files",), ("messages", "batches"))


@pytest.mark.parametrize("rest", ["files", "files/file-1", "files/file-1/content", "messages/batches/msgbatch_1"])
def test_the_plain_spelling(rest: str) -> None:
    """It is ours for every reader alike."""
    assert is_about(rest, OURS)
    assert is_plain(rest.split("/"), OURS)


@pytest.mark.parametrize(
    "rest",
    [
        "Files/x",
        "files%2Fx",
        "files%252Fx",
        "%66iles",
        "files;x/y",
        "files%3Bx",
        "files%3Fx",
        "files%23",
        "files%5Cx",
        "fi%09les",
        "%20files",
        "v1%2Ffiles",
        "%2Ffiles",
        ".%2Ffiles",
        "x%252F..%252Ffiles",
        "messages%2Fbatches",
        "messages/Batches/x",
        "messages;x/batches",
        "%25252525252566iles",
        "files/%00",
        "files/\u00e9",
    ],
)
def test_other_spellings(rest: str) -> None:
    """Somebody may read it as ours, so it is treated as ours, and refused."""
    assert is_about(rest, OURS)
    assert not is_plain(rest.split("/"), OURS)


@pytest.mark.parametrize("rest", ["filesystem", "x/files", "messages", "messages/count", "models/a%2Fb", "100%25"])
def test_paths_of_others(rest: str) -> None:
    """What nobody reads as ours is none of our business."""
    assert not is_about(rest, OURS)
