"""Which dialect a server speaks, what it is greeted with, and GA, which changes nothing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.upstream.dialect import (
    DialectName,
    dialect_of_session,
    dialect_of_url,
    headers_for,
    make_dialect,
    verified_dialect,
)

if TYPE_CHECKING:
    from avr_bridge.upstream.dialect import Dialect

GA, BETA, XAI = DialectName.GA, DialectName.BETA, DialectName.XAI
PREVIEW = "/openai/realtime?api-version=2025-04-01-preview&deployment=d"
BEARER = ("Authorization", "Bearer k")
OPT_IN = ("OpenAI-Beta", "realtime=v1")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("wss://api.openai.com/v1/realtime?model=m", GA),
        ("wss://r.openai.azure.com/openai/v1/realtime?model=d", GA),
        (f"wss://r.openai.azure.com{PREVIEW}", BETA),
        (f"wss://r.cognitiveservices.azure.com{PREVIEW}", BETA),
        (f"wss://gateway.example/team{PREVIEW}", BETA),
        ("https://r.openai.azure.com/openai/?api-version=2025-04-01-preview", BETA),
        ("wss://r.openai.azure.com/openai/realtime?model=d", GA),
        ("wss://api.x.ai/v1/realtime?model=grok-voice-latest", XAI),
        ("wss://eu-west-1.api.x.ai/v1/realtime", XAI),
        ("wss://api.x.ai.example.com/v1/realtime", GA),
        ("ws://127.0.0.1:8080/v1/realtime?model=m", GA),
        ("wss://r.services.ai.azure.com/voice-live/realtime?api-version=2026-04-10", GA),
    ],
)
def test_the_address_tells_the_likeliest_dialect(url: str, name: DialectName) -> None:
    """xAI by its host, Azure preview by path and `api-version`, everybody else is GA."""
    assert dialect_of_url(url) is name


@pytest.mark.parametrize(
    ("session", "name"),
    [
        ({"type": "realtime", "audio": {"input": {}}}, GA),
        ({"type": "realtime"}, GA),
        ({"audio": {"output": {"voice": "marin"}}}, GA),
        ({"modalities": ["text"], "voice": "alloy", "turn_detection": None}, BETA),
        ({"input_audio_format": "pcm16"}, BETA),
        ({"type": "realtime", "modalities": ["text", "audio"]}, BETA),
        ({"voice": "eve", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}, XAI),
        ({"type": "realtime", "turn_detection": None, "audio": {}}, XAI),
        ({"modalities": ["text"], "voice": "eve", "audio": {}}, XAI),
        ({"id": "sess_1", "voice": "eve"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_first_session_tells_the_dialect(session: Any, name: DialectName | None) -> None:
    """By the fields that only one of them has; None where none is shown."""
    assert dialect_of_session({"type": "session.created", "session": session}) is name


def test_auto_believes_the_session_but_for_xais_host() -> None:
    """A guess by the address gives way to what the session shows; a bare one changes nothing."""

    def created(**session: Any) -> dict[str, Any]:
        return {"type": "session.created", "session": session}

    assert verified_dialect(GA, created(modalities=["text"])) is BETA
    assert verified_dialect(BETA, created(type="realtime", audio={})) is GA
    assert verified_dialect(GA, created(voice="eve", audio={})) is XAI
    assert verified_dialect(BETA, created()) is BETA
    assert verified_dialect(XAI, created(type="realtime", audio={})) is XAI


def test_another_event_tells_nothing() -> None:
    """`conversation.created` comes first at xAI; an error is no session either."""
    assert dialect_of_session({"type": "conversation.created", "conversation": {}}) is None
    assert dialect_of_session({"type": "session.updated", "session": {"type": "realtime"}}) is None
    assert dialect_of_session({}) is None


@pytest.mark.parametrize(
    ("url", "name", "headers"),
    [
        ("wss://api.openai.com/v1/realtime", GA, [BEARER]),
        ("wss://api.openai.com/v1/realtime", BETA, [BEARER]),
        ("wss://eu.api.openai.com/v1/realtime", BETA, [BEARER]),
        ("wss://r.openai.azure.com/openai/v1/realtime", GA, [("api-key", "k")]),
        (f"wss://r.openai.azure.com{PREVIEW}", BETA, [("api-key", "k")]),
        (f"wss://R.CognitiveServices.Azure.com{PREVIEW}", BETA, [("api-key", "k")]),
        ("wss://r.services.ai.azure.com/openai/v1/realtime", GA, [("api-key", "k")]),
        ("wss://openai.azure.com.example/v1/realtime", GA, [BEARER]),
        ("wss://api.x.ai/v1/realtime", XAI, [BEARER]),
        ("ws://127.0.0.1:1/v1/realtime", BETA, [BEARER, OPT_IN]),
    ],
)
def test_headers(url: str, name: DialectName, headers: list[tuple[str, str]]) -> None:
    """`api-key` for Azure's hosts, else a bearer; the opt-in for beta, but never to OpenAI."""
    assert headers_for(url, "k", name) == headers
    assert headers_for(url, None, name) == [header for header in headers if header == OPT_IN]


@pytest.mark.parametrize("name", DialectName)
def test_make_dialect_makes_a_fresh_one(name: DialectName) -> None:
    """One for each connection, of the name asked for; audio goes out untranslated in all."""
    one, other = make_dialect(name), make_dialect(name)
    assert one is not other
    assert one.name is name
    assert one.passes_audio_append
    append = {"type": "input_audio_buffer.append", "audio": "AAAA"}
    assert one.encode(append) == append


@given(event=st.dictionaries(st.text(), JSON, max_size=5))
def test_ga_is_the_identity(event: dict[str, Any]) -> None:
    """Whatever the event: the very object, both ways."""
    ga = make_dialect(GA)
    assert ga.encode(event) is event
    (decoded,) = ga.decode(event)
    assert decoded is event
    assert not ga.renames
    assert not ga.touched


TYPES = sorted(make_dialect(BETA).touched | make_dialect(XAI).touched)
PARTS = ("session", "response", "item", "item_id", "response_id", "delta", "transcript", "usage")
INNER = (
    *("id", "type", "role", "content", "status", "output", "audio", "voice", "modalities"),
    *("turn_detection", "input_audio_format", "conversation_id", "usage", "input"),
)
STRANGE: list[Any] = [
    *(None, True, 7, "", "x", "resp_1", "assistant", "in_progress", [], ["x"], [None], [[]], {}),
    *([{"type": []}], [{"type": "audio"}], {"type": {}}, {"id": []}, {"input": []}, {"output": 1}),
]
OBJECTS = st.dictionaries(st.sampled_from(INNER), st.sampled_from(STRANGE), max_size=5)
ODD = st.dictionaries(st.sampled_from(PARTS), st.sampled_from(STRANGE) | OBJECTS)


@pytest.mark.parametrize("name", [BETA, XAI])
@given(events=st.lists(st.tuples(st.sampled_from(TYPES), ODD), max_size=6))
def test_odd_server_events_never_raise(
    name: DialectName, events: list[tuple[str, dict[str, Any]]]
) -> None:
    """Servers add and leave out without notice; and what was handed in stays as it was."""
    dialect = make_dialect(name)
    for kind, fields in events:
        event = {"type": kind, **fields}
        before = copy.deepcopy(event)
        assert isinstance(dialect.decode(event), list)
        assert event == before


@pytest.mark.parametrize("kind", [None, 7, ["response.done"], {"a": 1}])
@pytest.mark.parametrize("name", DialectName)
def test_a_type_that_is_no_text_is_passed_on(name: DialectName, kind: Any) -> None:
    """`events.py` says what is wrong with it."""
    assert make_dialect(name).decode({"type": kind}) == [{"type": kind}]


@pytest.mark.parametrize("name", DialectName)
def test_what_is_neither_touched_nor_renamed_passes(name: DialectName) -> None:
    """So a client may skip `decode` for all other types: errors, speech, buffers, unknown ones."""
    dialect = make_dialect(name)
    others = (
        *("error", "input_audio_buffer.speech_started", "input_audio_buffer.committed"),
        *("response.output_audio.delta", "rate_limits.updated", "conversation.item.truncated"),
        *("response.function_call_arguments.delta", "response.content_part.done", "newer.event"),
    )
    for kind in others:
        event = {"type": kind, "item_id": "item_1", "delta": "AAAA"}
        assert kind not in dialect.touched
        assert dialect.decode(event) == [event]


@pytest.mark.parametrize("name", DialectName)
def test_a_renamed_event_changes_by_nothing_but_its_name(name: DialectName) -> None:
    """The short cut for audio: the name may be changed without `decode`."""
    dialect = make_dialect(name)
    for kind, ga_kind in dialect.renames.items():
        if kind in dialect.touched:
            continue
        event = {"type": kind, "item_id": "item_1", "delta": "AAAA", "content_index": 0}
        assert dialect.decode(event) == [event | {"type": ga_kind}]


def audio_deltas(dialect: Dialect) -> set[str]:
    return {kind for kind in dialect.renames if kind.startswith("response.audio.")}


def test_sound_is_always_on_the_short_cut() -> None:
    """95 % of all events: no dialect looks into them."""
    for name in DialectName:
        dialect = make_dialect(name)
        assert not audio_deltas(dialect) & dialect.touched
        assert "response.output_audio.delta" not in dialect.touched
    assert audio_deltas(make_dialect(BETA)) == {"response.audio.delta", "response.audio.done"}


def test_only_xai_says_given_words() -> None:
    """Elsewhere a welcome is a wish that a model puts into its own words."""
    assert make_dialect(GA).welcome("Hello.") is None
    assert make_dialect(BETA).welcome("Hello.") is None
    assert make_dialect(XAI).welcome("Hello.") is not None
