"""AudioSocket's frames: the bytes, how they may be cut, and what is no AudioSocket."""

from __future__ import annotations

import struct
import uuid
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.audio.codec import decode, encode
from avr_bridge.audio.format import PCM16_8K, Encoding
from avr_bridge.caller.audiosocket_protocol import (
    HANG_UP_FRAME,
    LONGEST_SOUND_BYTES,
    AudioSocketProtocol,
    sound_frames,
)
from avr_bridge.caller.transport import (
    CallerAudio,
    CallerEvent,
    CallerFault,
    CallerLeft,
    CallStarted,
    DtmfDigit,
    Leaving,
)

CALL = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
FRAME = PCM16_8K.frame_bytes


def frame(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


HELLO = frame(0x01, CALL.bytes)


def started(encoding: Encoding | None = Encoding.PCM16) -> AudioSocketProtocol:
    protocol = AudioSocketProtocol(encoding)
    assert protocol.receive(HELLO) == [CallStarted(str(CALL))]
    return protocol


def merged(events: list[CallerEvent]) -> list[CallerEvent]:
    """Sound in a row as one event, however it came."""
    found: list[CallerEvent] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, CallerAudio) and isinstance(last, CallerAudio):
            found[-1] = CallerAudio(last.pcm + event.pcm, last.messages + event.messages)
        else:
            found.append(event)
    return found


def test_the_bytes_of_asterisk() -> None:
    """As its source writes them: UUID, 20 ms of slin, a key, and what we send to hang up."""
    protocol = AudioSocketProtocol()
    pcm = b"\x01\x00" * 160
    wire = b"\x01\x00\x10" + CALL.bytes + b"\x10\x01\x40" + pcm + b"\x03\x00\x01#"
    assert protocol.receive(wire) == [CallStarted(str(CALL)), CallerAudio(pcm), DtmfDigit("#")]
    assert HANG_UP_FRAME == b"\x00\x00\x00"
    assert sound_frames(pcm * 2) == (b"\x10\x01\x40" + pcm) * 2
    assert sound_frames(b"") == b""


@pytest.mark.parametrize("encoding", Encoding)
def test_every_codec_comes_as_the_same_kind(encoding: Encoding, question: bytes) -> None:
    """Asterisk marks G.711 as slin; what it is is found out, and nothing of it is lost."""
    protocol = started(encoding=None)
    events = []
    for at in range(0, len(question), FRAME):
        events += protocol.receive(frame(0x10, encode(question[at : at + FRAME], encoding)))
    (sound,) = merged(events)
    assert isinstance(sound, CallerAudio)
    assert sound.pcm == decode(encode(question, encoding), encoding)
    assert sound.messages == -(-len(question) // FRAME)


def test_sound_that_came_together_is_one_event() -> None:
    """Three frames and a key between: two events of sound, in order, with their number."""
    sound = frame(0x10, b"\1\0" * 160)
    events = started().receive(sound * 2 + frame(0x03, b"5") + sound)
    assert events == [
        CallerAudio(b"\1\0" * 320, 2),
        DtmfDigit("5"),
        CallerAudio(b"\1\0" * 160),
    ]


def test_half_a_sample_does_not_shift_the_next_frame() -> None:
    """Each frame is read by itself."""
    events = started().receive(frame(0x10, b"\1\0\2") + frame(0x10, b"\3\0"))
    assert events == [CallerAudio(b"\1\0"), CallerAudio(b"\3\0")]
    assert started().receive(frame(0x10, b"\1")) == [CallerFault("audio: half a sample")]


@pytest.mark.parametrize("digit", "0123456789*#ABCDabcd")
def test_every_key(digit: str) -> None:
    """Letters in capitals."""
    assert started().receive(frame(0x03, digit.encode())) == [DtmfDigit(digit.upper())]


@pytest.mark.parametrize("payload", [b"x", b"\x00", b"\xff", b"E"])
def test_what_is_no_key_is_a_fault(payload: bytes) -> None:
    """The call goes on."""
    protocol = started()
    (fault,) = protocol.receive(frame(0x03, payload))
    assert isinstance(fault, CallerFault)
    assert protocol.receive(frame(0x03, b"1")) == [DtmfDigit("1")]


def test_an_empty_frame_of_sound_is_a_fault() -> None:
    """It counts as a message, so a flood of them is one."""
    assert started().receive(frame(0x10) * 3) == [CallerFault("audio: empty")] * 3


@pytest.mark.parametrize(
    ("wire", "detail"),
    [
        (frame(0x00), ""),
        (b"\x00\x00\x05extra", ""),
        (frame(0xFF, b"\x01"), "Asterisk reports error 0x01"),
        (frame(0xFF), "Asterisk reports error 0x"),
    ],
)
def test_asterisk_hangs_up(wire: bytes, detail: str) -> None:
    """By a hang-up, or by an error of its own. What follows is not read."""
    protocol = started()
    assert protocol.receive(wire + HELLO) == [CallerLeft(Leaving.HUNG_UP, detail)]
    assert protocol.receive(frame(0x03, b"1")) == []
    assert not protocol.has_part


@pytest.mark.parametrize(
    ("wire", "how", "detail"),
    [
        (b"\x02\x00\x01", Leaving.BROKE_PROTOCOL, "a frame of unknown kind 0x02"),
        (b"\x47ET / HTTP/1.1", Leaving.BROKE_PROTOCOL, "a frame of unknown kind 0x47"),
        (
            b"\x12\x02\x80",
            Leaving.FORMAT_UNKNOWN,
            "sound at 16 kHz (kind 0x12): only 8 kHz is taken",
        ),
        (
            b"\x15\x00\x01",
            Leaving.FORMAT_UNKNOWN,
            "sound at 44.1 kHz (kind 0x15): only 8 kHz is taken",
        ),
        (HELLO[:3], Leaving.BROKE_PROTOCOL, "a second UUID: one call per connection"),
        (b"\x03\x00\x02", Leaving.BROKE_PROTOCOL, "a frame of kind 0x03 with 2 bytes"),
        (b"\x10\xff\xff", Leaving.MESSAGE_TOO_BIG, "a frame of 65535 bytes"),
        (b"\xff\xff\xff", Leaving.MESSAGE_TOO_BIG, "a frame of 65535 bytes"),
    ],
)
def test_what_is_no_audiosocket_ends_the_call(wire: bytes, how: Leaving, detail: str) -> None:
    """Its head is enough: no payload is waited for. Sound before it is not lost."""
    protocol = started()
    sound = frame(0x10, b"\1\0")
    assert protocol.receive(sound + wire) == [CallerAudio(b"\1\0"), CallerLeft(how, detail)]
    assert protocol.receive(sound) == []


@pytest.mark.parametrize(
    ("wire", "detail"),
    [
        (frame(0x10, b"\1\0"), "a frame of kind 0x10 before the UUID"),
        (frame(0x03, b"1"), "a frame of kind 0x03 before the UUID"),
        (b"\x16\x03\x01\x02\x00", "a frame of kind 0x16 before the UUID"),  # TLS
        (b"\x01\x00\x05", "a frame of kind 0x01 with 5 bytes"),
        (b"GET / HTTP/1.1\r\n", "a frame of unknown kind 0x47"),
    ],
)
def test_the_uuid_comes_first(wire: bytes, detail: str) -> None:
    """Whatever else comes is no call."""
    protocol = AudioSocketProtocol()
    assert protocol.receive(wire) == [CallerLeft(Leaving.BROKE_PROTOCOL, detail)]


def test_the_longest_frame_passes() -> None:
    """A second of sound."""
    (event,) = started().receive(frame(0x10, bytes(LONGEST_SOUND_BYTES)))
    assert event == CallerAudio(bytes(LONGEST_SOUND_BYTES))


FRAMES = st.one_of(
    st.binary(max_size=700).map(lambda payload: frame(0x10, payload)),
    st.sampled_from("0123456789*#ABCDx").map(lambda digit: frame(0x03, digit.encode())),
)


@given(st.lists(FRAMES, max_size=12), st.data())
def test_where_it_is_cut_makes_no_difference(frames: list[bytes], data: st.DataObject) -> None:
    """Byte by byte or all at once: the same events, and nothing waits behind a whole frame."""
    wire = HELLO + b"".join(frames)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=20))
    places = [0, *sorted(cuts), len(wire)]
    at_once = AudioSocketProtocol(Encoding.PCM16)
    in_pieces = AudioSocketProtocol(Encoding.PCM16)
    events: list[CallerEvent] = []
    for start, end in pairwise(places):
        events += in_pieces.receive(wire[start:end])
    assert merged(events) == merged(at_once.receive(wire))
    assert not in_pieces.has_part


@given(st.lists(st.binary(max_size=400), max_size=30), st.booleans())
def test_garbage_is_read_without_an_error(pieces: list[bytes], after_hello: bool) -> None:
    """No exception, no more kept than one frame, and nothing after the end."""
    protocol = AudioSocketProtocol()
    events = protocol.receive(HELLO) if after_hello else []
    for piece in pieces:
        events += protocol.receive(piece)
        assert len(protocol._rest) <= LONGEST_SOUND_BYTES + 3
    left = [number for number, event in enumerate(events) if isinstance(event, CallerLeft)]
    assert left in ([], [len(events) - 1])
