"""The spool: frames on disk that survive the process, in order and within bounds."""

import json
import os
import stat
import struct
import subprocess
import sys
import zlib
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest

from app.analytics import spool as spool_module
from app.analytics.rows import build_priced_row
from app.analytics.spool import Spool
from app.wire.money import Ceiling, Hold
from app.wire.usage import Usage
from tests.analytics.samples import build_row, find_lines

DIES_WITHOUT_CLOSING = """
import os, sys
from pathlib import Path
from app.analytics.spool import Spool
from tests.analytics.samples import build_row, find_lines
from app.analytics.rows import build_priced_row
assert Spool(Path(sys.argv[1]), 2**20).append([build_priced_row(build_row(request_id="from the dead"), find_lines)])
os._exit(9)
"""

DISK_FILLS_UP = """
import resource, sys
from pathlib import Path
from app.analytics.spool import Spool
from tests.analytics.samples import build_row, find_lines
from app.analytics.rows import build_priced_row
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
spool = Spool(Path(sys.argv[1]), 2**20)
rows = [build_priced_row(build_row(request_id="kept"), find_lines)]
accepted = [spool.append(rows) for _ in range(20)]
spool.close()
sys.exit(accepted.count(True))
"""


def frame(*names):
    return [build_priced_row(build_row(request_id=name), find_lines) for name in names]


def read_all(spool):
    found = []
    while (rows := spool.read()) is not None:
        found.append([priced.row.request_id for priced in rows])
        spool.done()
    return found


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def open_spool(folder):
    opened = []

    def build(max_bytes=2**20):
        opened.append(Spool(folder, max_bytes))
        return opened[-1]

    yield build
    for spool in opened:
        spool.close()


def test_frames_come_back_oldest_first_and_then_are_gone(folder, open_spool, monkeypatch):
    """Frames are read in the order they were written, over all files; a file whose frames are done is deleted."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 2000)
    spool = open_spool()
    for number in range(12):
        assert spool.append(frame(str(number)))
    assert len(list(folder.iterdir())) > 1
    assert read_all(spool) == [[str(number)] for number in range(12)]
    assert list(folder.iterdir()) == []


def test_a_frame_is_offered_until_it_is_done(open_spool):
    """What was read but not yet settled is read again, by this process or by the next one."""
    spool = open_spool()
    spool.append(frame("a"))
    assert spool.read() == spool.read()
    spool.close()
    assert read_all(open_spool()) == [["a"]]


def test_rows_come_back_as_they_were(open_spool):
    """A row and its costs are the same after their time on disk."""
    rows = frame("a", "b")
    spool = open_spool()
    spool.append(rows)
    assert spool.read() == rows


EARLIER = """
[[{"id": "01a209a6-6685-7691-8749-2f049fc35d48", "request_id": "paid", "request_time": 1700000000.5,
   "response_time": 1700000001.0, "user_id": null, "api_key_id": null, "provider": "openai", "model": "gpt-4o",
   "requested_model": null, "endpoint": "messages", "streamed": false, "status_code": 200, "error_type": null,
   "usage": {"input_tokens": 10, "cache_read_tokens": 0, "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0,
             "input_audio_tokens": 0, "output_tokens": 5, "reasoning_tokens": 0, "output_audio_tokens": 0,
             "web_searches": 0, "service_tier": null},
   "billed": true, "cache_status": "miss", "cache_key": null, "optimizations_applied": [], "latency": 250.0,
   "overhead_ms": null, "first_byte_ms": null, "upstream_ms": null, "attempts": 0, "upstream_request_id": null,
   "session_id": null, "retry_count": null, "tags": null, "metadata": null, "request_bytes": null,
   "response_bytes": null}, ["0.15", null]],
 [{"id": "01a209a6-6685-7691-8749-2f049fc35d49", "request_id": "free", "request_time": 1700000000.5,
   "response_time": 1700000001.0, "billed": false}, ["0", "0.15"]],
 [{"id": "01a209a6-6685-7691-8749-2f049fc35d4a", "request_id": "unknown", "request_time": 1700000000.5,
   "response_time": 1700000001.0}, [null, null]]]
"""


def test_frames_of_the_release_before_are_read(folder, open_spool):
    """Rows spooled before there were bills come back, and what they cost is one line."""
    payload = msgspec.msgpack.encode(json.loads(EARLIER))
    folder.mkdir()
    (folder / "0.spool").write_bytes(struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
    paid, free, unknown = open_spool().read()
    assert (paid.row.request_id, paid.costs, paid.bill.kind) == ("paid", (Decimal("0.15"), None), "usage")
    assert [(line.token_class, line.amount_usd) for line in paid.bill.lines] == [("total", Decimal("0.15"))]
    assert (free.costs, free.bill) == ((0, Decimal("0.15")), None)
    assert (unknown.costs, unknown.bill) == ((None, None), None)


def test_what_settlement_needs_comes_back(open_spool):
    """The hold of a row with its ceiling, the estimate and the lines are the same after their time on disk."""
    ceiling = Ceiling(input_usd=Decimal("0.1"), output_usd=Decimal("0.2"))
    hold = Hold(reservation_id=uuid4(), kind="escrow", amount_usd=Decimal("1.5"), booked_at=1.25, ceiling=ceiling)
    row = build_row(hold=hold, model="unheard-of", estimated_usage=Usage(input_tokens=3), team_id=uuid4())
    rows = [build_priced_row(row, find_lines)]
    spool = open_spool()
    spool.append(rows)
    (found,) = spool.read()
    assert [found] == rows
    assert (found.row.hold, found.bill.kind) == (hold, "ceiling")
    assert found.bill.total_usd == found.costs.estimated_cost


def test_the_bound_holds_for_the_whole_folder(folder, open_spool):
    """The newest rows are refused once all files together would be larger than the bound; the older ones stay."""
    first, second = open_spool(3000), open_spool(3000)
    accepted = [spool.append(frame("x")) for _ in range(20) for spool in (first, second)]
    assert accepted[0]
    assert not accepted[-1]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3000
    first.close()
    assert len(read_all(second)) == accepted.count(True)


def test_nobody_else_can_read_the_files(folder, open_spool):
    """The folder is 0700 and its files are 0600, whatever the umask."""
    old = os.umask(0)
    try:
        spool = open_spool()
        spool.append(frame("a"))
        spool.reject("row", "reason")
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_living_owner_keeps_its_file(open_spool):
    """A file that its owner still holds is not read by others."""
    owner, other = open_spool(), open_spool()
    owner.append(frame("a"))
    assert other.read() is None
    owner.close()
    assert read_all(other) == [["a"]]


def test_the_file_of_a_dead_process_is_adopted(folder, open_spool):
    """What a killed process left behind is read by the next one that looks."""
    done = subprocess.run([sys.executable, "-c", DIES_WITHOUT_CLOSING, str(folder)])
    assert done.returncode == 9
    assert read_all(open_spool()) == [["from the dead"]]


@pytest.mark.parametrize("kept", [1, 7, 8, 9, 200])
def test_a_cut_file_gives_its_whole_frames(folder, open_spool, kept):
    """A frame that a crash cut is left out; the frames before it are read."""
    spool = open_spool()
    spool.append(frame("whole"))
    (path,) = folder.iterdir()
    whole = path.stat().st_size
    spool.append(frame("cut"))
    spool.close()
    os.truncate(path, whole + kept)
    assert read_all(open_spool()) == [["whole"]]


def test_a_full_disk_refuses_rows_and_keeps_the_others(folder, open_spool):
    """A frame that the disk took only in part is taken back and refused; the frames before it are whole."""
    done = subprocess.run([sys.executable, "-c", DISK_FILLS_UP, str(folder)])
    assert 0 < done.returncode < 20
    assert read_all(open_spool()) == [["kept"]] * done.returncode


def test_a_damaged_frame_is_skipped(folder, open_spool):
    """A frame whose bytes changed on disk is skipped and counted, the others are read."""
    spool = open_spool()
    for name in ("a", "b", "c"):
        spool.append(frame(name))
    spool.close()
    (path,) = folder.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    reader = open_spool()
    assert read_all(reader) == [["a"], ["c"]]
    assert reader.damaged_frames == 1


def test_rubbish_is_no_frame(folder, open_spool):
    """A file that holds anything else is read as empty."""
    folder.mkdir()
    (folder / "0.spool").write_bytes(os.urandom(5000))
    assert open_spool().read() is None


def test_an_unusable_folder_refuses_rows(tmp_path):
    """A spool that cannot be written says so instead of raising."""
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "spool", 2**20)
    assert not spool.append(frame("a"))
    spool.reject("row", "reason")


def test_a_rejected_row_is_kept_for_people(folder, open_spool):
    """A parked row can be read as a line of JSON with the reason, also when it has no JSON form."""
    spool = open_spool()
    spool.reject(build_row(request_id="odd"), "too odd")
    spool.reject(object(), "no JSON")
    first, second = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    assert (first["row"]["request_id"], first["reason"]) == ("odd", "too odd")
    assert "object" in second["row"]


def test_who_lives_reads_what_it_wrote_itself(tmp_path):
    """Another process does not take the rows of one that lives: that one waits to hear what became of them."""
    mine, other = Spool(tmp_path, 2**20), Spool(tmp_path, 2**20)
    for name in ("one", "two"):
        assert mine.append([build_priced_row(build_row(request_id=name), find_lines)])
        mine._seal()
        assert other.read() is None
    for name in ("one", "two"):
        assert mine.append([build_priced_row(build_row(request_id="last"), find_lines)])
        assert mine.read()[0].row.request_id == name
        mine.done()
        assert other.read() is None
    mine.close()
    assert other.read() is not None
    other.close()
