"""The quick reader and writer of WebSocket frames, against wsproto as the judge."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest
import wsproto.events as events
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType

from avr_bridge.net.frames import (
    LONGEST_KEPT_BYTES,
    Foreign,
    FrameSplitter,
    binary_frame,
    masked_text_frame,
    text_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = st.one_of(
    st.text(alphabet="ab{}:,", max_size=300),
    st.text(max_size=60),
    st.integers(0, 70_000).map(lambda length: "x" * length),
)


def client_frames(message: str | bytes, *, pieces: int = 1) -> bytes:
    """A client's message as wsproto sends it, in `pieces` fragments."""
    client = Connection(ConnectionType.CLIENT)
    kind: Any = events.TextMessage if isinstance(message, str) else events.BytesMessage
    step = max(len(message) // pieces, 1)
    parts = [message[at : at + step] for at in range(0, len(message), step)] or [message]
    return b"".join(
        client.send(kind(data=part, message_finished=number == len(parts) - 1))
        for number, part in enumerate(parts)
    )


class Reader:
    """The splitter with wsproto behind it, as a connection uses them."""

    def __init__(self) -> None:
        self.splitter = FrameSplitter()
        self.general = Connection(ConnectionType.SERVER)
        self.read: list[str | bytes] = []
        self.quick = 0
        self.control: list[events.Event] = []
        self._part: str | bytes | None = None

    def push(self, data: bytes) -> None:
        for found in self.splitter.push(data):
            if not isinstance(found, Foreign):
                assert self._part is None
                self.quick += 1
                self.read.append(found)
                continue
            self.general.receive_data(found)
            for event in self.general.events():
                if not isinstance(event, events.TextMessage | events.BytesMessage):
                    self.control.append(event)
                    continue
                part = event.data if isinstance(event.data, str) else bytes(event.data)
                self._part = part if self._part is None else self._part + part  # type: ignore[operator]
                if event.message_finished:
                    self.read.append(self._part)
                    self._part = None


@given(
    messages=st.lists(st.one_of(TEXTS, st.binary(max_size=200)), max_size=6),
    pieces=st.lists(st.integers(1, 4), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
)
def test_what_is_read_is_what_was_sent(
    messages: list[str | bytes], pieces: list[int], seed: int
) -> None:
    """Any messages, fragmented anyhow, cut anywhere by the network: all arrive, in order."""
    wire = b"".join(client_frames(one, pieces=n) for one, n in zip(messages, pieces, strict=False))
    reader, chance, at = Reader(), random.Random(seed), 0
    while at < len(wire):
        end = at + chance.choice([1, 2, 7, 130, 5_000, 100_000])
        reader.push(wire[at:end])
        at = end
    assert reader.read == messages
    assert not reader.splitter.has_part


@pytest.mark.parametrize("message", ["a" * 450, bytes(range(160)), b"\xff" * 960])
def test_the_usual_frame_takes_the_quick_way(message: str | bytes) -> None:
    """Fifty frames in one read, and one cut in the middle: none goes to the general parser."""
    wire = client_frames(message) * 50
    reader = Reader()
    reader.push(wire[:-100])
    assert reader.splitter.has_part
    reader.push(wire[-100:])
    assert reader.quick == 50
    assert reader.read == [message] * 50


def test_control_frames_between_fragments_reach_the_general_parser() -> None:
    """A ping inside a fragmented message, a quick message behind it, then the close."""
    client = Connection(ConnectionType.CLIENT)
    wire = (
        client.send(events.TextMessage(data="one ", message_finished=False))
        + client.send(events.Ping(payload=b"now"))
        + client.send(events.TextMessage(data="two", message_finished=True))
        + client.send(events.BytesMessage(data=b"three"))
        + client.send(events.CloseConnection(code=1000))
    )
    reader = Reader()
    reader.push(wire)
    assert reader.read == ["one two", b"three"]
    assert reader.quick == 1
    assert [type(event) for event in reader.control] == [events.Ping, events.CloseConnection]


@pytest.mark.parametrize(
    "broken",
    [
        b"\x81\x05hello",  # not masked
        b"\x81\x7e\x01\x00" + b"x" * 256,  # not masked, longer
        b"\xc1\x85\0\0\0\0hello",  # a reserved bit
        b"\x81\xfe\x00\x05\0\0\0\0hello",  # a length that must be written shorter
        b"\x83\x85\0\0\0\0hello",  # no such opcode
        b"\x81\x82\0\0\0\0\xff\xfe",  # not UTF-8
        b"\x80\x85\0\0\0\0hello",  # the rest of nothing
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",  # 18 exabytes
    ],
)
def test_what_may_not_be_sent_is_judged_by_the_general_parser(broken: bytes) -> None:
    """wsproto gets the very bytes, and closes as it does without us."""
    reader = Reader()
    reader.push(client_frames("before"))
    for byte in broken:
        reader.push(bytes([byte]))
    alone = Connection(ConnectionType.SERVER)
    alone.receive_data(broken)
    assert [type(one) for one in reader.control] == [type(one) for one in alone.events()]
    assert reader.control
    assert reader.read == ["before"]


def test_little_is_kept_of_a_long_frame() -> None:
    """A frame that comes in drips is copied once, not with each drip."""
    wire = client_frames("x" * 60_000)
    reader = Reader()
    for at in range(0, len(wire), 100):
        reader.push(wire[at : at + 100])
        assert len(reader.splitter._waiting) <= LONGEST_KEPT_BYTES
    assert reader.read == ["x" * 60_000]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 500, 65_535, 65_536, 200_000])
@pytest.mark.parametrize(
    ("write", "reader"),
    [(text_frame, ConnectionType.CLIENT), (masked_text_frame, ConnectionType.SERVER)],
)
def test_a_text_frame_is_read_by_the_general_parser(
    write: Callable[[bytes], bytes], reader: ConnectionType, length: int
) -> None:
    """Every form of the length, and nothing left over."""
    payload = os.urandom(length // 2).hex() + "x" * (length % 2)
    general = Connection(reader)
    general.receive_data(write(payload.encode()) * 2)
    found = [e for e in general.events() if isinstance(e, events.TextMessage)]
    assert "".join(e.data for e in found) == payload * 2
    assert sum(e.message_finished for e in found) == 2


def test_every_masked_frame_has_a_key_of_its_own() -> None:
    """RFC 6455, section 5.3: fresh, and not to be guessed."""
    assert len({masked_text_frame(b"same")[2:6] for _ in range(50)}) == 50


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_a_binary_frame_is_read_by_the_general_parser(length: int) -> None:
    """Every form of the length, and nothing left over."""
    payload = os.urandom(length)
    general = Connection(ConnectionType.CLIENT)
    general.receive_data(binary_frame(payload) * 2)
    found = [e for e in general.events() if isinstance(e, events.BytesMessage)]
    assert b"".join(e.data for e in found) == payload * 2
    assert sum(e.message_finished for e in found) == 2
