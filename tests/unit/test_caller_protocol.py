"""avr-core's messages: what is understood, and how each fault is named."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge.caller.protocol import CallerProtocol
from avr_bridge.caller.transport import (
    AudioOut,
    CallerAudio,
    CallerFault,
    CallerMessage,
    CallStarted,
    DtmfDigit,
    ErrorOut,
    Interruption,
    TranscriptOut,
)
from avr_bridge.errors import CallerProtocolError


def audio(data: bytes) -> str:
    return json.dumps({"type": "audio", "audio": base64.b64encode(data).decode()})


def understood_or_fault(message: str | bytes | None) -> object:
    try:
        return CallerProtocol().receive(message)
    except CallerProtocolError as fault:
        return str(fault)


def test_init_audio_and_digits_are_understood() -> None:
    """The three messages of the contract; fields that we do not know are ignored."""
    protocol = CallerProtocol()
    init = '{"type":"init","uuid":"u-1","provider_config":{"api_key":"evil"}}'
    assert protocol.receive(init) == [CallStarted("u-1")]
    assert protocol.receive(audio(b"\1\2" * 160)) == [CallerAudio(b"\1\2" * 160)]
    assert protocol.receive('{"type":"dtmf_digit","digit":"#"}') == [DtmfDigit("#")]
    assert protocol.receive('{"digit":"a","type":"dtmf_digit"}') == [DtmfDigit("A")]


def test_a_second_init_is_refused_and_changes_nothing() -> None:
    """One call per connection; the first call's audio is still understood."""
    protocol = CallerProtocol()
    protocol.receive('{"type":"init","uuid":"u-1"}')
    with pytest.raises(CallerProtocolError, match="init was already received"):
        protocol.receive('{"type":"init","uuid":"u-2"}')
    assert protocol.receive(audio(b"\0\0")) == [CallerAudio(b"\0\0")]


def test_a_bad_init_may_be_repaired() -> None:
    """Only a valid init counts."""
    protocol = CallerProtocol()
    for bad in ('{"type":"init"}', '{"type":"init","uuid":""}', '{"type":"init","uuid":7}'):
        with pytest.raises(CallerProtocolError, match="uuid"):
            protocol.receive(bad)
    assert protocol.receive('{"type":"init","uuid":"u"}') == [CallStarted("u")]


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("", "empty message"),
        (None, "empty message"),
        (b"", "empty message"),
        (b"\x00\x01", "binary message"),
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ("null", "expected an object"),
        ("7", "expected an object"),
        ('{"type":"audio","x":' + "[" * 400_000 + "]" * 400_000 + "}", "nested too deeply"),
        ('{"type":"init","uuid":7} x', "not JSON"),
        ('{"type":"hello"', "not JSON"),
        ('{"type":"audio","audio":5,"x":' + "[" * 400_000 + "]" * 400_000 + "}", "nested too deep"),
        ('{"type":7}', "expected an object with a type"),
        ("{}", "expected an object with a type"),
        ('{"type":"hello"}', "unsupported message type: hello"),
        ('{"type":"audio"}', "audio: .*missing required field `audio`"),
        ('{"type":"audio","audio":"%%%"}', "audio: .*base64"),
        ('{"type":"audio","audio":5}', "audio: "),
        ('{"type":"audio","audio":""}', "audio: empty"),
        ('{"type":"dtmf_digit","digit":"12"}', "dtmf_digit: expected one of"),
        ('{"type":"dtmf_digit","digit":""}', "dtmf_digit: expected one of"),
        ('{"type":"init","uuid":"' + "x" * 129 + '"}', "uuid must have"),
        ('{"type":"init","uuid":"u\\u001b[31m"}', "no control characters"),
    ],
)
def test_each_fault_is_named(message: str | bytes | None, fault: str) -> None:
    """The text goes back to avr-core; it says what was wrong, not how we noticed."""
    with pytest.raises(CallerProtocolError, match=fault):
        CallerProtocol().receive(message)


def test_an_odd_byte_is_a_fault_and_the_whole_samples_are_kept() -> None:
    """Nothing that can be heard is lost."""
    kept, fault = CallerProtocol().receive(audio(b"\1\2\3"))
    assert kept == CallerAudio(b"\1\2")
    assert isinstance(fault, CallerFault)
    assert "3 bytes" in fault.message


@given(st.one_of(st.text(), st.binary(), st.none()))
def test_garbage_is_never_anything_but_a_fault(message: str | bytes | None) -> None:
    """Random input either is a fault with words or raises nothing else."""
    assert understood_or_fault(message)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "audio", "uuid", "digit"]), inner, max_size=4
            )
        ),
    )
)
def test_any_json_is_a_message_or_a_fault(value: object) -> None:
    """Wrong types in every field are faults, never exceptions of another kind."""
    assert understood_or_fault(json.dumps(value))


def test_messages_to_avr_core_have_the_contracts_shape() -> None:
    """Exactly the fields of the contract, base64 with padding, as a JavaScript peer reads them."""
    messages: dict[str, CallerMessage] = {
        "audio": AudioOut(b"\1\2" * 160),
        "interruption": Interruption(),
        "transcript": TranscriptOut("agent", "Grüße"),
        "error": ErrorOut("no"),
    }
    encoded = {
        kind: json.loads(CallerProtocol.encode(message)) for kind, message in messages.items()
    }
    assert encoded["audio"]["type"] == "audio"
    assert base64.b64decode(encoded["audio"]["audio"], validate=True) == b"\1\2" * 160
    assert encoded["interruption"] == {"type": "interruption"}
    assert encoded["transcript"] == {"type": "transcript", "role": "agent", "text": "Grüße"}
    assert encoded["error"] == {"type": "error", "message": "no"}
