"""The bill in the model's events: every token in one field, whatever the server leaves out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.telemetry.usage import Usage
from avr_bridge.upstream.dialect import DialectName
from avr_bridge.upstream.events import CallerTranscript, ResponseDone
from avr_bridge.upstream.translation import Translator
from avr_bridge.upstream.usage import usage_of_response, usage_of_transcription

GA = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "image_tokens": 0,
        "cached_tokens": 72,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 8, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}
SAID = Usage(
    text_in=55, audio_in=5, cached_text_in=64, cached_audio_in=8, text_out=30, audio_out=91
)
BETA: dict[str, Any] = GA | {
    "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 124}
}


def test_ga_says_it_all() -> None:
    """Cached tokens are part of the input there; here they stand beside it."""
    usage = usage_of_response(GA)
    assert usage == SAID
    assert (usage.tokens_in, usage.tokens_cached, usage.tokens_out) == (132, 72, 121)


def test_beta_does_not_say_what_is_cached() -> None:
    """Text first, and the rest is sound: no token is counted twice or lost."""
    usage = usage_of_response(BETA)
    assert usage == Usage(
        text_in=0, audio_in=8, cached_text_in=119, cached_audio_in=5, text_out=30, audio_out=91
    )
    assert usage.tokens_in == 132


def test_a_bill_without_details() -> None:
    """Seen of cut answers: how many, but not of what; so nobody guesses."""
    usage = usage_of_response({"total_tokens": 90, "input_tokens": 60, "output_tokens": 30})
    assert usage == Usage(other_in=60, other_out=30)


def test_reasoning_is_text() -> None:
    """Output that is neither of the two kinds is what the model thought."""
    bill = GA | {"output_tokens": 200}
    assert usage_of_response(bill) == SAID + Usage(text_out=79)


def test_images_are_neither() -> None:
    """Input of a third kind has no price here."""
    bill = GA | {"input_tokens": 140}
    assert usage_of_response(bill) == SAID + Usage(other_in=8)


@pytest.mark.parametrize("bill", [None, {}, [], "12", 5])
def test_no_bill(bill: Any) -> None:
    """Nothing is said, which is not the same as nothing."""
    assert usage_of_response(bill) is None
    assert usage_of_transcription(bill) is None


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(
            [
                *("input_tokens", "output_tokens", "text_tokens", "audio_tokens"),
                *("cached_tokens", "cached_tokens_details", "input_token_details"),
                *("output_token_details", "type", "seconds"),
            ]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)


@given(bill=JUNK | st.just({"type": "duration", "seconds": float("nan")}))
def test_whatever_comes_is_a_count(bill: Any) -> None:
    """Nothing raises, and nothing is ever below zero or beyond belief."""
    for usage in (usage_of_response(bill), usage_of_transcription(bill)):
        if usage is not None:
            assert 0 <= usage.tokens_cached <= usage.tokens_in <= 4_000_000
            assert 0 <= usage.tokens_out <= 4_000_000
            assert 0 <= usage.heard_s <= 24 * 3600


def test_transcripts_are_billed_in_tokens_or_seconds() -> None:
    """Two shapes, by model; the first has no details of its output, which is text."""
    tokens = {
        "type": "tokens",
        "total_tokens": 26,
        "input_tokens": 17,
        "output_tokens": 9,
        "input_token_details": {"text_tokens": 2, "audio_tokens": 15},
    }
    assert usage_of_transcription(tokens) == Usage(text_in=2, audio_in=15, text_out=9)
    assert usage_of_transcription({"type": "duration", "seconds": 1.9}) == Usage(heard_s=1.9)


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (DialectName.GA, {"response": {"id": "R", "status": "cancelled", "usage": GA}}),
        (DialectName.BETA, {"response": {"id": "R", "status": "cancelled", "usage": GA}}),
        (DialectName.XAI, {"response": {"id": "R", "status": "completed"}, "usage": GA}),
    ],
)
def test_each_dialect_brings_the_bill(dialect: DialectName, fields: dict[str, Any]) -> None:
    """Of an answer that was cut off as well; xAI's stands beside the response."""
    message = json.dumps({"type": "response.done", **fields})
    (event,) = Translator(dialect, verify=False).read(message)
    assert isinstance(event, ResponseDone)
    assert usage_of_response(event.response.usage) == usage_of_response(GA)


@pytest.mark.parametrize("dialect", DialectName)
def test_each_dialect_brings_the_transcripts_bill(dialect: DialectName) -> None:
    """And a server that sends none is no fault."""
    kind = "conversation.item.input_audio_transcription.completed"
    head = {"type": kind, "item_id": "U", "content_index": 0, "transcript": "Hi."}
    translator = Translator(dialect, verify=False)
    for bill in ({"type": "duration", "seconds": 2}, None):
        (event,) = translator.read(json.dumps(head | ({"usage": bill} if bill else {})))
        assert isinstance(event, CallerTranscript)
        assert event.usage == bill
