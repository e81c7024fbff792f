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
    LONGEST_KEPT_OF_SERVER_BYTES,
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


CLIENT, SERVER = ConnectionType.CLIENT, ConnectionType.SERVER
SENDERS = pytest.mark.parametrize("sender", [CLIENT, SERVER], ids=["client", "server"])


def frames_of(sender: ConnectionType, message: str | bytes, *, pieces: int = 1) -> bytes:
    """A message as wsproto sends it, in `pieces` fragments."""
    client = Connection(sender)
    kind: Any = events.TextMessage if isinstance(message, str) else events.BytesMessage
    step = max(len(message) // pieces, 1)
    parts = [message[at : at + step] for at in range(0, len(message), step)] or [message]
    return b"".join(
        client.send(kind(data=part, message_finished=number == len(parts) - 1))
        for number, part in enumerate(parts)
    )


class Reader:
    """The splitter with wsproto behind it, as a connection uses them."""

    def __init__(self, sender: ConnectionType = CLIENT) -> None:
        self.splitter = FrameSplitter(of_client=sender is CLIENT)
        self.general = Connection(SERVER if sender is CLIENT else CLIENT)
        self.read: list[str | bytes] = []
        self.quick = 0
        self.announced = 0
        self.control: list[events.Event] = []
        self._part: str | bytes | None = None

    def push(self, data: bytes) -> None:
        for found in self.splitter.push(data):
            if found is None:
                assert self._part is None
                self.announced += 1
                continue
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


@SENDERS
@given(
    messages=st.lists(st.one_of(TEXTS, st.binary(max_size=200)), max_size=6),
    pieces=st.lists(st.integers(1, 4), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
)
def test_what_is_read_is_what_was_sent(
    sender: ConnectionType, messages: list[str | bytes], pieces: list[int], seed: int
) -> None:
    """Any messages, fragmented anyhow, cut anywhere by the network: all arrive, in order. Each one
    that the general parser reads is announced."""
    wire = b"".join(
        frames_of(sender, one, pieces=n) for one, n in zip(messages, pieces, strict=False)
    )
    reader, chance, at = Reader(sender), random.Random(seed), 0
    while at < len(wire):
        end = at + chance.choice([1, 2, 7, 130, 5_000, 100_000])
        reader.push(wire[at:end])
        at = end
    assert reader.read == messages
    assert reader.quick + reader.announced == len(messages)
    assert not reader.splitter.has_part


@SENDERS
def test_the_usual_frame_takes_the_quick_way(sender: ConnectionType) -> None:
    """Fifty frames in one read, and one cut in the middle: none goes to the general parser."""
    wire = frames_of(sender, "a" * 450) * 50
    reader = Reader(sender)
    reader.push(wire[:-200])
    assert reader.splitter.has_part
    reader.push(wire[-200:])
    assert reader.quick == 50
    assert reader.read == ["a" * 450] * 50


@pytest.mark.parametrize("message", [bytes(range(160)), b"\xff" * 960])
def test_a_clients_binary_frame_takes_the_quick_way(message: bytes) -> None:
    """As a text does. A server's goes to the general parser, announced."""
    reader = Reader()
    wire = frames_of(CLIENT, message) * 50
    reader.push(wire[:-100])
    assert reader.splitter.has_part
    reader.push(wire[-100:])
    assert reader.quick == 50
    assert reader.read == [message] * 50
    reader = Reader(SERVER)
    reader.push(frames_of(SERVER, message))
    assert reader.quick == 0
    assert reader.announced == 1
    assert reader.read == [message]


@SENDERS
def test_control_frames_between_fragments_reach_the_general_parser(sender: ConnectionType) -> None:
    """A ping inside a fragmented message, a quick text behind it, then the close. The message and
    the close are announced."""
    client = Connection(sender)
    wire = (
        client.send(events.TextMessage(data="one ", message_finished=False))
        + client.send(events.Ping(payload=b"now"))
        + client.send(events.TextMessage(data="two", message_finished=True))
        + client.send(events.TextMessage(data="three"))
        + client.send(events.CloseConnection(code=1000))
    )
    reader = Reader(sender)
    reader.push(wire)
    assert reader.read == ["one two", "three"]
    assert reader.quick == 1
    assert reader.announced == 2
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
@SENDERS
def test_what_may_not_be_sent_is_judged_by_the_general_parser(
    sender: ConnectionType, broken: bytes
) -> None:
    """wsproto gets the very bytes, and closes as it does without us."""
    if sender is SERVER:
        broken = _unmasked(broken)
    reader = Reader(sender)
    reader.push(frames_of(sender, "before"))
    for byte in broken:
        reader.push(bytes([byte]))
    alone = Connection(SERVER if sender is CLIENT else CLIENT)
    alone.receive_data(broken)
    assert [type(one) for one in reader.control] == [type(one) for one in alone.events()]
    assert reader.control
    assert reader.read == ["before"]


def _unmasked(broken: bytes) -> bytes:
    """The same fault as a server would make it: the mask bit the other way round, and no key."""
    start = {126: 4, 127: 10}.get(broken[1] & 0x7F, 2)
    key_bytes = 4 if broken[1] & 0x80 else 0
    head = bytes((broken[0], broken[1] ^ 0x80)) + broken[2:start]
    return head + broken[start + key_bytes :]


@pytest.mark.parametrize(
    ("sender", "length", "most"),
    [(CLIENT, 60_000, LONGEST_KEPT_BYTES), (SERVER, 200_000, LONGEST_KEPT_OF_SERVER_BYTES)],
)
def test_little_is_kept_of_a_long_frame(sender: ConnectionType, length: int, most: int) -> None:
    """A frame that comes in drips is copied once, not with each drip."""
    wire = frames_of(sender, "x" * length)
    reader = Reader(sender)
    for at in range(0, len(wire), 100):
        reader.push(wire[at : at + 100])
        assert len(reader.splitter._waiting) <= most
    assert reader.read == ["x" * length]
    assert reader.announced == 1


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
