"""The official openai package judges every event that the bridge can send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from openai.types.realtime import RealtimeClientEvent
from pydantic import TypeAdapter

from avr_bridge import ModelConfig
from avr_bridge.audio.format import ALAW_8K, PCM16_24K, ULAW_8K
from avr_bridge.testing import (
    CallTool,
    MemoryCaller,
    Script,
    Silence,
    SimulatedRealtime,
    SimulatorOptions,
)
from avr_bridge.upstream.commands import (
    AppendAudio,
    CreateItem,
    CreateResponse,
    UpdateSession,
    audio_formats_only,
    encode_command,
    function_output,
    session_object,
)
from tests.call.conftest import config, place_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

    from avr_bridge.upstream.commands import Command

pytestmark = pytest.mark.peer
JUDGE: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)


def judged(text: str) -> dict[str, Any]:
    """The event as openai's own types read it: the right class, and no field that it lacks."""
    event = json.loads(text)
    model = JUDGE.validate_python(event)
    assert model.type == event["type"]
    read: dict[str, Any] = model.model_dump(mode="json", exclude_unset=True, by_alias=True)
    assert set(read) == set(event)
    if "session" in event:
        assert _without_extras(model.session)
    return read


def _without_extras(model: Any) -> bool:
    """Whether openai's model knows every field, at every depth."""
    if model.__pydantic_extra__:
        return False
    inner = [value for value in vars(model).values() if hasattr(value, "__pydantic_extra__")]
    return all(_without_extras(value) for value in inner)


def all_settings() -> Iterator[ModelConfig]:
    for model in ("gpt-realtime-2", "gpt-realtime-2.1-mini", "gpt-realtime", "gpt-realtime-1.5"):
        yield ModelConfig(model=model)
    for audio_format in ("pcmu", "pcma", "pcm"):
        yield ModelConfig(audio_format=audio_format)
    for effort in ("minimal", "low", "medium", "high", "xhigh"):
        yield ModelConfig(reasoning_effort=effort)
    for eagerness in ("low", "medium", "high", "auto"):
        yield ModelConfig(turn_detection="semantic_vad", eagerness=eagerness)
    yield ModelConfig(turn_detection="semantic_vad", language="en", max_tokens=100, voice="marin")
    yield ModelConfig(transcription_model="gpt-transcribe")


@pytest.mark.parametrize(
    "settings", list(all_settings()), ids=lambda c: f"{c.model}-{c.audio_format}"
)
def test_every_session_that_settings_can_make(settings: ModelConfig) -> None:
    """Each choice of each setting gives a `session.update` that openai's types know in full."""
    for fmt in (ULAW_8K, ALAW_8K, PCM16_24K):
        update = UpdateSession(session_object(settings, "Be kind. Grüße.", fmt), "br-1")
        read = judged(encode_command(update))
        assert read["session"]["max_output_tokens"] == (settings.max_tokens or "inf")


@pytest.mark.parametrize(
    "command",
    [
        AppendAudio(b"\x7f\xff" * 80),
        CreateResponse("br-2"),
        CreateItem(function_output("call_1", "There is no tool named x."), "br-3"),
        UpdateSession(audio_formats_only(PCM16_24K), "br-4"),
    ],
)
def test_every_other_event(command: Command) -> None:
    """Audio as base64, responses, items, the change of formats."""
    judged(encode_command(command))


@pytest.mark.parametrize("g711", ["honoured", "refused", "ignored"])
async def test_what_a_call_really_sent(
    autojump_clock: MockClock, question: bytes, g711: Any
) -> None:
    """A call with greeting, speech, a tool that nobody offered, and a change of formats: all that
    the model received is known to openai's types."""
    script = Script([[CallTool("fly", "{}")]], then=Silence())
    simulator = SimulatedRealtime(script, SimulatorOptions(g711=g711))
    async with place_call(simulator, config(), MemoryCaller()) as call:
        call.caller.start()
        await call.caller.say(question)
        await call.caller.be_silent(3)
    sent = call.simulator.sessions[0].received
    kinds = {event["type"] for event in sent}
    assert {"session.update", "response.create", "conversation.item.create"} <= kinds
    for event in sent:
        if event["type"] != "input_audio_buffer.append":
            judged(json.dumps(event))
