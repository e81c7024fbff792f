"""docs/protocol.md: its messages are what is read and written, its numbers those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from avr_bridge.call.inbound import INIT_LIMIT_S, MESSAGE_BURST, MESSAGES_PER_S
from avr_bridge.call.outbound import CHUNK_FRAMES
from avr_bridge.caller import http_stream, websocket
from avr_bridge.caller.metadata import LONGEST_METADATA_CHARS, MOST_METADATA
from avr_bridge.caller.protocol import LONGEST_UUID_CHARS, CallerProtocol
from avr_bridge.caller.transport import AudioOut, ErrorOut, Interruption, TranscriptOut

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


BLOCKS: list[str] = re.findall(r"^```json\n(.*?)^```", TEXT, re.M | re.S)


def messages(number: int) -> list[str]:
    return BLOCKS[number].splitlines()


def test_what_avr_core_sends_is_read() -> None:
    """Each message is one event, and none is a fault."""
    protocol = CallerProtocol()
    events = [event for message in messages(0) for event in protocol.receive(message)]
    assert [type(event).__name__ for event in events] == ["CallStarted", "CallerAudio", "DtmfDigit"]


def test_what_is_sent_looks_like_that() -> None:
    """The very members, in any order."""
    told = {"role": "user", "text": "When are you open?"}
    said = {"role": "agent", "text": "From nine to five."}
    sent: list[Any] = [
        AudioOut(bytes(4)),
        Interruption(),
        TranscriptOut(**told),
        TranscriptOut(**said),
        ErrorOut("the model cannot be reached"),
    ]
    written = [json.loads(CallerProtocol.encode(message)) for message in sent]
    assert written == [json.loads(message) for message in messages(1)]


def test_the_numbers_are_the_codes() -> None:
    """Limits and leads."""
    words = TEXT.replace("\n", " ")
    for claim in (
        f"within {INIT_LIMIT_S:g} s",
        f"1 to {LONGEST_UUID_CHARS} characters",
        f"{MESSAGE_BURST:,} messages at once or {MESSAGES_PER_S:g} a second",
        f"up to {CHUNK_FRAMES * 20} ms in a message, at most {websocket.LEAD_MS} ms ahead",
        f"sent at most {http_stream.LEAD_MS} ms ahead",
        f"{MOST_METADATA} of them, {LONGEST_METADATA_CHARS} characters each",
    ):
        assert claim in words, claim
