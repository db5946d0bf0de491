"""Rows that Postgres could not take yet, in files on disk that survive the process."""

import fcntl
import logging
import os
import struct
import time
import zlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import msgspec

from app.analytics.rows import PricedRow, complete_row

SEGMENT_BYTES = 8 * 2**20
MAX_FRAME_BYTES = 64 * 2**20
MAX_REJECTED_BYTES = 8 * 2**20
SUFFIX = ".spool"
REJECTED = "rejected.jsonl"

log = logging.getLogger(__name__)

_HEADER = struct.Struct("<II")  # length and CRC-32 of the payload
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[PricedRow]).decode
_encode_json = msgspec.json.Encoder().encode


class Spool:
    """A bounded queue of frames in a folder that several processes may share.

    A file belongs to the process that holds its lock (flock), which the system gives up when that process dies; the
    others then read it as their own. A process that lives reads what it wrote itself: it waits to hear what became of
    the rows. Blocking; one caller at a time.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._writing: BinaryIO | None = None
        self._sealed: deque[BinaryIO] = deque()
        self._reading: BinaryIO | None = None
        self._frame: list[PricedRow] | None = None
        self.damaged_frames = 0

    def append(self, rows: Sequence[PricedRow]) -> bool:
        """Store `rows` as one frame; False when the bound or the disk does not allow it."""
        payload = _encode(rows)
        frame = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            if self._size() + len(frame) > self._max_bytes:
                return False
            return self._write(frame)
        except OSError:
            return False

    def read(self) -> list[PricedRow] | None:
        """Return the oldest frame, again and again until `done` is called; None when there is none."""
        while self._frame is None:
            if self._reading is None and not self._open_oldest():
                return None
            self._frame = self._read_frame()
            if self._frame is None:
                self._discard()
        return self._frame

    def done(self) -> None:
        """Go on to the next frame. A file goes when its last frame is done; until then a crash repeats all of it."""
        self._frame = None

    def reject(self, row: object, reason: str) -> None:
        """Keep a row that Postgres refuses, for people to look at."""
        try:
            text = _encode_json({"at": time.time(), "reason": reason, "row": row})
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):
            text = _encode_json({"at": time.time(), "reason": reason, "row": ascii(row)})
        try:
            self._make_folder()
            handle = os.open(self._folder / REJECTED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "ab") as file:
                if os.fstat(handle).st_size + len(text) < MAX_REJECTED_BYTES:
                    file.write(text + b"\n")
        except OSError:
            return  # the row is counted in any case

    def close(self) -> None:
        """Give up the files; whoever comes next reads them."""
        self._seal()
        for file in self._sealed:
            file.close()
        self._sealed.clear()
        if self._reading is not None:
            self._reading.close()
            self._reading = None
        self._frame = None

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _size(self) -> int:
        self._make_folder()
        with os.scandir(self._folder) as entries:
            return sum(entry.stat().st_size for entry in entries)

    def _write(self, frame: bytes) -> bool:
        file = self._writing or self._open_new()
        self._writing = file
        before = os.fstat(file.fileno()).st_size
        try:
            whole = os.write(file.fileno(), frame) == len(frame)
        except OSError:
            whole = False
        if not whole:
            os.ftruncate(file.fileno(), before)
        elif before + len(frame) >= SEGMENT_BYTES:
            self._seal()
        return whole

    def _open_new(self) -> BinaryIO:
        name = f"{time.time_ns():020d}-{os.getpid()}-{uuid4().hex[:8]}"
        hidden = self._folder / f"{name}.new"
        path = self._folder / (name + SUFFIX)
        handle = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        hidden.rename(path)  # seen by others only when it is locked

        def take_over(_name: str, _flags: int) -> int:
            return handle

        return open(path, "r+b", buffering=0, opener=take_over)

    def _seal(self) -> None:
        if self._writing is not None:
            self._sealed.append(self._writing)
            self._writing = None

    def _open_oldest(self) -> bool:
        """Start on our oldest file, else on the oldest that nobody holds; rows to come open a new one."""
        self._seal()
        if self._sealed:
            self._reading = self._sealed.popleft()
            self._reading.seek(0)
            return True
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix == SUFFIX)
        except FileNotFoundError:
            return False
        self._reading = next((file for path in paths if (file := _open_locked(path)) is not None), None)
        return self._reading is not None

    def _read_frame(self) -> list[PricedRow] | None:
        """Return the next good frame of the file; None at its end, or where a crash cut it."""
        file = self._reading
        while file is not None:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return None
            length, checksum = _HEADER.unpack(header)
            payload = file.read(length) if length <= MAX_FRAME_BYTES else b""
            if len(payload) < length:
                return None
            rows = _read_payload(payload) if zlib.crc32(payload) == checksum else None
            if rows is not None:
                return rows
            self.damaged_frames += 1
            log.warning("The spool file %s has a damaged frame; its rows are lost", file.name)
        return None

    def _discard(self) -> None:
        file, self._reading = self._reading, None
        if file is not None:
            Path(file.name).unlink(missing_ok=True)
            file.close()


def _read_payload(payload: bytes) -> list[PricedRow] | None:
    try:
        return [complete_row(row) for row in _decode(payload)]
    except msgspec.MsgspecError:
        return None


def _open_locked(path: Path) -> BinaryIO | None:
    """Return the file at `path` if no living process holds it and nobody has just finished it."""
    try:
        file = path.open("rb")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    if os.fstat(file.fileno()).st_nlink == 0:
        file.close()
        return None
    return file
