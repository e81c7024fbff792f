"""What chan_websocket says and is told, in both ways of writing; and a recorded exchange."""

from __future__ import annotations

import json

import pytest

from avr_bridge.audio.format import ALAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, ULAW_8K, AudioFormat
from avr_bridge.caller.chan_protocol import (
    MOST_COMMAND_BYTES,
    ChanProtocol,
    FormatUnknown,
    MediaStarted,
    Status,
)
from avr_bridge.caller.transport import CallerFault, DtmfDigit, MarkPlayed, SoundHeld
from avr_bridge.testing.chan import MediaDriver

START = (
    "MEDIA_START connection_id:bridge channel:WebSocket/bridge/0x7f10 channel_id:1795379054.7 "
    "format:ulaw optimal_frame_size:160 ptime:20"
)

RECORDED = [
    (START, MediaStarted("WebSocket/bridge/0x7f10", "1795379054.7", "bridge", ULAW_8K, 20, {})),
    ("MEDIA_MARK_PROCESSED one", MarkPlayed("one")),
    ("MEDIA_MARK_PROCESSED two", MarkPlayed("two")),
    ("MEDIA_BUFFERING_COMPLETED sb1", None),
    ("QUEUE_DRAINED", None),
    (
        "STATUS channel_id:1795379054.7 queue_length:75 xon_level:800 xoff_level:900 "
        "queue_full:false bulk_media:false media_paused:false",
        Status(75),
    ),
    ("MEDIA_XOFF", SoundHeld(on=True)),
    ("MEDIA_XON", SoundHeld(on=False)),
    ("DTMF_END digit:# channel_id:1795379054.7", DtmfDigit("#")),
    (
        "ERROR channel_id:1795379054.7 error_text:MARK_MEDIA not supported in passthrough mode",
        FormatUnknown("passthrough: the p option of the dial string leaves no marks"),
    ),
    ("ERROR channel_id:1 error_text:No such thing", CallerFault("Asterisk: No such thing")),
    ("SOMETHING_NEW colour:blue", CallerFault("unknown event: SOMETHING_NEW")),
]
"""As Asterisk 22.10.1 wrote them, and what they mean."""


def as_json(line: str) -> str:
    """The JSON form of a plain event."""
    name, _, rest = line.partition(" ")
    event: dict[str, object] = {"event": name}
    if "error_text:" in rest:
        event["error_text"] = rest.partition("error_text:")[2]
    else:
        for word in rest.split():
            key, colon, value = word.partition(":")
            if not colon:
                key, value = "correlation_id", word
            number = key in ("queue_length", "optimal_frame_size", "ptime")
            event[key] = int(value) if number else value
    return json.dumps(event)


@pytest.mark.parametrize("in_json", [False, True])
@pytest.mark.parametrize(("line", "meaning"), RECORDED)
def test_what_asterisk_says(line: str, meaning: object, in_json: bool) -> None:
    """Each event that it sends, in both ways of writing."""
    protocol = ChanProtocol()
    assert protocol.receive(as_json(line) if in_json else line) == meaning
    assert protocol.in_json is in_json


@pytest.mark.parametrize(
    ("name", "frame_bytes", "fmt"),
    [
        ("ulaw", 160, ULAW_8K),
        ("alaw", 160, ALAW_8K),
        ("slin", 320, PCM16_8K),
        ("slin16", 640, PCM16_16K),
        ("slin24", 960, PCM16_24K),
    ],
)
def test_the_codecs(name: str, frame_bytes: int, fmt: AudioFormat) -> None:
    """Those that we can do, with the frames that Asterisk makes of them."""
    line = START.replace("ulaw", name).replace("size:160", f"size:{frame_bytes}")
    found = ChanProtocol().receive(line)
    assert isinstance(found, MediaStarted)
    assert found.fmt == fmt
    assert found.frame_ms == 20


def test_frames_of_ten_milliseconds_are_counted_as_such() -> None:
    """Two of Asterisk's make one of ours; its queue is counted in its own."""
    found = ChanProtocol().receive(START.replace("size:160 ptime:20", "size:80 ptime:10"))
    assert isinstance(found, MediaStarted)
    assert found.frame_ms == 10


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format:ulaw", "format:opus"),
        ("format:ulaw", "format:slin48"),
        (" format:ulaw", ""),
        ("size:160", "size:240"),
        ("size:160", "size:-160"),
        # Parts of a millisecond: what waits at Asterisk could not be counted, least of all in 0 ms.
        ("size:160", "size:1"),
        ("size:160", "size:4"),
        ("size:160", "size:20"),
        ("ulaw optimal_frame_size:160", "slin optimal_frame_size:1"),
        ("size:160 ptime:20", "size:0 ptime:-20"),
        ("size:160 ptime:20", "size:0 ptime:3"),
    ],
)
def test_what_we_cannot_do_is_said(old: str, new: str) -> None:
    """No call begins in a format that would be noise, or in frames that ours do not fill."""
    assert isinstance(ChanProtocol().receive(START.replace(old, new)), FormatUnknown)


def test_words_of_asterisks_have_no_control_characters() -> None:
    """In what goes into the log: a codec, an error, an event that nobody knows."""
    refused = ChanProtocol().receive('{"event": "MEDIA_START", "format": "a\\u001b[1m"}')
    assert isinstance(refused, FormatUnknown)
    assert refused.message.startswith("format a [1m: expected")
    told = ChanProtocol().receive('{"event": "ERROR", "error_text": "no\\nsuch"}')
    assert told == CallerFault("Asterisk: no such")
    assert ChanProtocol().receive('{"event": "N\\u0007"}') == CallerFault("unknown event: N ")


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        '{"event": 5}',
        '{"no": "event"}',
        '{"event": "STATUS", "queue_length": "many"}',
        "STATUS queue_length:many",
        "   ",
        "\u2028",
        "{" * 5000,
        "1 2 3",
        '{"event":"MEDIA_START","channel_variables":7}',
    ],
)
def test_what_is_no_event_is_a_fault(message: str) -> None:
    """It is counted, and never raises."""
    assert ChanProtocol().receive(message) == CallerFault("a control message that is no event")


def test_channel_variables_are_text() -> None:
    """Where Asterisk tells them; another kind of value is left out."""
    event = json.loads(as_json(START))
    event["channel_variables"] = {"CALLERID(num)": "2000", "odd": 5, "MEDIA": None}
    found = ChanProtocol().receive(json.dumps(event))
    assert isinstance(found, MediaStarted)
    assert found.variables == {"CALLERID(num)": "2000"}


def test_commands_are_written_as_asterisk_writes() -> None:
    """Plain until JSON was seen, and never longer than Asterisk reads."""
    protocol = ChanProtocol()
    assert protocol.command("MARK_MEDIA", "17") == b"MARK_MEDIA 17"
    assert protocol.command("FLUSH_MEDIA") == b"FLUSH_MEDIA"
    protocol.receive(as_json(START))
    text = protocol.command("MARK_MEDIA", "9" * 12)
    assert json.loads(text) == {"command": "MARK_MEDIA", "correlation_id": "9" * 12}
    assert json.loads(protocol.command("HANGUP")) == {"command": "HANGUP"}
    assert len(text) <= MOST_COMMAND_BYTES


def test_the_recorded_exchange() -> None:
    """What Asterisk 22.10.1 answered to these commands, at these times: the simulated driver, on
    which the other tests stand, does the same. Times are in ticks of 20 ms from the first media."""
    driver = MediaDriver()
    told: list[tuple[int, str]] = []

    def run(first: int, ticks: int) -> None:
        for number in range(first, first + ticks):
            _, events = driver.tick()
            told.extend((number, event) for event in events)

    assert ChanProtocol().receive(driver.start()) is not None
    driver.command("ANSWER")
    driver.command("START_MEDIA_BUFFERING")
    driver.media(b"\x01" * 8_000)
    driver.command("MARK_MEDIA one")
    driver.media(b"\x02" * 1_700)
    driver.command("MARK_MEDIA two")
    driver.command("STOP_MEDIA_BUFFERING sb1")
    driver.command("REPORT_QUEUE_DRAINED")
    driver.command("NO_SUCH_COMMAND")
    run(0, 100)
    assert told == [
        (50, "MEDIA_MARK_PROCESSED one"),  # 1.018 s: after exactly the second that it marks
        (60, "MEDIA_MARK_PROCESSED two"),  # 1.220 s: the part of a frame comes behind the mark
        (61, "MEDIA_BUFFERING_COMPLETED sb1"),  # 1.238 s
        (62, "QUEUE_DRAINED"),
    ]
    driver.media(b"\x03" * 16_000)  # 2 s, at 2.006 s
    driver.command("MARK_MEDIA three")
    run(100, 25)
    status = "STATUS channel_id:1795379054.7 queue_length:{} xon_level:800 xoff_level:900"
    flags = " queue_full:false bulk_media:false media_paused:false"
    assert driver.command("GET_STATUS") == [status.format(75) + flags]
    driver.command("FLUSH_MEDIA")
    assert driver.command("GET_STATUS") == [status.format(0) + flags]
    run(125, 100)
    assert len(told) == 4  # the flushed mark is never reported
    driver.command("HANGUP")
    assert driver.answered
    assert driver.hung_up
    assert driver.unknown == ["NO_SUCH_COMMAND"]
