"""The record of a call as AVR_CALL_WEBHOOK gets it: its fields, its bounds, its signature."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from avr_bridge import CallSummary, EndReason, Secret
from avr_bridge.server.webhook_record import (
    MOST_TRANSCRIPT_CHARS,
    CallRecord,
    CallRecords,
    headers_of,
)
from avr_bridge.telemetry.journal import CallBegan, CallEnded, SpeechStarted, Transcript

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "webhook.md").read_text()
SECRET = "a secret of some length".replace(" ", "-")
UUID = "5b0c7a3e-8f0e-4a53-9d5e-6f2f1f0b9a77"
METADATA = {"from": "+15550100", "to": "600"}
ENDED_AT = 1_795_554_341.207
SUMMARY = CallSummary(
    uuid=UUID,
    end_reason=EndReason.CALLER_HUNG_UP,
    detail="",
    metadata=METADATA,
    duration_s=41.2071,
    answered_after_s=1.24,
    caller_audio_ms=41180.0,
    played_ms=23400.0,
    dropped_ms=0.0,
    turns=3,
    interruptions=1,
    underruns=0,
    tools=1,
    digits=0,
    faults=0,
)


def records(*moments: Any, call: str = UUID) -> list[CallRecord]:
    made: list[CallRecord] = []
    listener = CallRecords(made.append, lambda: ENDED_AT)
    for moment in moments:
        listener(call, moment)
    return made


def record(*said: Transcript) -> CallRecord:
    (one,) = records(
        CallBegan(100.0, UUID, METADATA, "websocket"),
        SpeechStarted(101.0),
        *said,
        CallEnded(141.2, SUMMARY),
    )
    return one


def test_a_record_is_the_summary_with_the_transcript() -> None:
    """Times of what was said count from the call's beginning; metadata has its values."""
    body = json.loads(
        record(
            Transcript(103.1, "agent", "Good day!"),
            Transcript(109.44, "agent", "We open at", cut=True),
        ).body
    )
    assert body["call"] == UUID
    assert body["reason"] == "caller_hung_up"
    assert body["metadata"] == METADATA
    assert body["ended_at"] == "2026-11-24T21:05:41.207+00:00"
    assert body["transcript"] == [
        {"role": "agent", "text": "Good day!", "at_s": 3.1},
        {"role": "agent", "text": "We open at", "at_s": 9.44, "cut": True},
    ]
    assert "transcript_cut" not in body


def test_the_pages_example_has_these_fields() -> None:
    """No more, no fewer."""
    (example,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.M | re.S)
    shown, real = json.loads(example), json.loads(record().body)
    assert shown.keys() == real.keys()
    assert shown["type"] == real["type"]


def test_a_call_without_an_id_has_no_record() -> None:
    """A scanner's connection is no call. Moments of a call that nobody began change nothing."""
    assert records(CallEnded(1.0, attrs.evolve(SUMMARY, uuid="")), call="") == []
    assert records(Transcript(1.0, "user", "words")) == []


def test_a_transcript_without_end_is_cut() -> None:
    """What was said first is kept, and that something is missing is told."""
    page = "x" * 1000
    body = json.loads(record(*[Transcript(101.0, "user", page)] * 300).body)
    assert len(body["transcript"]) == MOST_TRANSCRIPT_CHARS // 1000
    assert body["transcript_cut"] is True


def test_calls_are_kept_apart() -> None:
    """Two at a time; nothing is left of one that is over."""
    made: list[CallRecord] = []
    listener = CallRecords(made.append)
    for call in ("a", "b"):
        listener(call, CallBegan(0.0, call, {}, "websocket"))
    listener("a", Transcript(1.0, "user", "of a"))
    listener("b", Transcript(1.0, "user", "of b"))
    for call in ("a", "b", "a"):
        listener(call, CallEnded(2.0, attrs.evolve(SUMMARY, uuid=call)))
    first, second = (json.loads(one.body) for one in made)
    assert [line["text"] for line in first["transcript"]] == ["of a"]
    assert [line["text"] for line in second["transcript"]] == ["of b"]
    assert first["delivery"] != second["delivery"] == made[1].delivery


def receivers() -> list[Any]:
    """The function on the page, and the example's."""
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile(block, "webhook.md", "exec"), names)

    path = CHECKOUT / "examples" / "webhook_receiver.py"
    spec = importlib.util.spec_from_file_location("webhook_receiver", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return [names["is_genuine"], example.is_genuine]


@pytest.mark.parametrize("is_genuine", receivers(), ids=["page", "example"])
def test_what_is_signed_is_believed_and_nothing_else(is_genuine: Any) -> None:
    """Another secret, another body, another time, an old request, no signature."""
    one = record(Transcript(103.1, "agent", "Grüß Gott!"))
    now_s = time.time()
    headers = headers_of(one, Secret(SECRET), now_s)
    timestamp, signature = headers["X-AVR-Timestamp"], headers["X-AVR-Signature"]
    assert is_genuine(SECRET, timestamp, signature, one.body)
    assert not is_genuine("another", timestamp, signature, one.body)
    assert not is_genuine(SECRET, timestamp, signature, one.body + b" ")
    assert not is_genuine(SECRET, str(int(timestamp) - 1), signature, one.body)
    assert not is_genuine(SECRET, "", signature, one.body)
    assert not is_genuine(SECRET, timestamp, "", one.body)
    old = headers_of(one, Secret(SECRET), now_s - 400)
    assert not is_genuine(SECRET, old["X-AVR-Timestamp"], old["X-AVR-Signature"], one.body)


def test_headers_without_a_secret_have_no_signature() -> None:
    """The delivery's name is the same at each attempt, and the body's."""
    one = record()
    headers = headers_of(one, None, 1.9)
    assert headers == {
        "Content-Type": "application/json",
        "X-AVR-Delivery": json.loads(one.body)["delivery"],
        "X-AVR-Timestamp": "1",
    }
    assert one.body.decode() not in repr(one)
