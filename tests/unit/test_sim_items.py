"""Items of the simulated conversation: truncate, delete, retrieve, create; in virtual time."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from avr_bridge.testing.realtime import Say, Script, Silence, SimulatedRealtime
from tests.sim_client import ULAW, Client, connected, quiet, tone

if TYPE_CHECKING:
    from trio.testing import MockClock

SPOKEN = Say(tone(2_000), 24_000, "We open at nine.")


def text_item(text: str, role: str = "user", **more: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **more}


async def speak(client: Client) -> str:
    """Have one answer spoken; return its item's id."""
    await client.send("response.create")
    done = await client.until("response.done")
    return str(done["response"]["output"][0]["id"])


async def test_truncate_cuts_audio_and_drops_the_transcript(autojump_clock: MockClock) -> None:
    """Truncated once at 1480 ms; the item is that long then, and its words are gone."""
    async with connected(SimulatedRealtime(Script([[SPOKEN]]))) as client:
        await client.update(audio={"output": {"format": ULAW}})
        item_id = await speak(client)
        place = {"item_id": item_id, "content_index": 0, "audio_end_ms": 1480}
        await client.send("conversation.item.truncate", **place)
        told = await client.until("conversation.item.truncated")
        assert {name: told[name] for name in place} == place
        await client.send("conversation.item.retrieve", item_id=item_id)
        (part,) = (await client.until("conversation.item.retrieved"))["item"]["content"]
        assert "transcript" not in part
        assert len(base64.b64decode(part["audio"])) == 1480 * 8


async def test_truncate_refuses_in_the_apis_words(autojump_clock: MockClock) -> None:
    """Too long, unknown item, no audio in it, negative: the real codes and texts."""
    async with connected(SimulatedRealtime(Script([[SPOKEN]]))) as client:
        item_id = await speak(client)

        async def code(**change: Any) -> tuple[str, str]:
            place = {"item_id": item_id, "content_index": 0, "audio_end_ms": 100} | change
            error = await client.refused("conversation.item.truncate", **place)
            return error["code"], error["message"]

        assert await code(audio_end_ms=2060) == (
            "invalid_value",
            "Audio content of 2000ms is already shorter than 2060ms",
        )
        assert (await code(item_id="item_x"))[0] == "item_truncate_invalid_item_id"
        assert (await code(audio_end_ms=-1))[0] == "integer_below_min_value"
        assert (await code(content_index=1))[0] == "invalid_value"
        await client.send("conversation.item.create", item=text_item("hi", id="said"))
        assert await code(item_id="said", audio_end_ms=0) == (
            "unsupported_content_type",
            "Only model output audio messages can be truncated",
        )
        assert "conversation.item.truncated" not in client.types


async def test_truncate_of_a_running_item(autojump_clock: MockClock) -> None:
    """An item that still sounds can be cut, and its response completes all the same."""
    long = Say(tone(8_000), 24_000, "long")
    async with connected(SimulatedRealtime(Script([[long]]))) as client:
        await client.send("response.create")
        added = await client.until("response.output_audio.delta")
        await client.send(
            "conversation.item.truncate",
            item_id=added["item_id"],
            content_index=0,
            audio_end_ms=20,
        )
        await client.until("conversation.item.truncated")
        done = await client.until("response.done")
        assert done["response"]["status"] == "completed"


async def test_delete_and_retrieve(autojump_clock: MockClock) -> None:
    """A deleted item is gone for everyone; unknown ids are refused, each with its own code."""
    async with connected(SimulatedRealtime(Silence())) as client:
        await client.append(quiet(300) + tone(500) + quiet(300))
        item_id = (await client.until("input_audio_buffer.committed"))["item_id"]
        await client.send("conversation.item.retrieve", item_id=item_id)
        item = (await client.until("conversation.item.retrieved"))["item"]
        assert len(base64.b64decode(item["content"][0]["audio"])) > 48 * 500
        await client.send("conversation.item.delete", item_id=item_id)
        assert (await client.until("conversation.item.deleted"))["item_id"] == item_id
        error = await client.refused("conversation.item.retrieve", item_id=item_id)
        assert error["code"] == "item_retrieve_invalid_item_id"
        error = await client.refused("conversation.item.delete", item_id=item_id)
        assert error["code"] == "item_delete_invalid_item_id"


async def test_items_go_where_they_were_sent(autojump_clock: MockClock) -> None:
    """At the end, at the root, after another; unknown places and double ids are refused."""
    async with connected(SimulatedRealtime(Silence())) as client:

        async def create(name: str, **place: Any) -> str | None:
            await client.send("conversation.item.create", item=text_item("x", id=name), **place)
            await client.until("conversation.item.added")
            done = await client.until("conversation.item.done")
            assert done["item"]["id"] == name
            previous: str | None = done["previous_item_id"]
            return previous

        assert await create("a") is None
        assert await create("b") == "a"
        assert await create("first", previous_item_id="root") is None
        assert await create("between", previous_item_id="a") == "a"
        assert await create("last", previous_item_id=None) == "b"
        bad = await client.refused(
            "conversation.item.create", item=text_item("x"), previous_item_id="nowhere"
        )
        assert bad["param"] == "previous_item_id"
        bad = await client.refused("conversation.item.create", item=text_item("x", id="a"))
        assert bad["param"] == "item.id"


async def test_what_the_client_adds_is_part_of_the_turn(autojump_clock: MockClock) -> None:
    """Texts and audio of the user reach the behaviour once; system and assistant texts do not."""
    script = Script([[], []])
    audio = base64.b64encode(tone(200)).decode()
    async with connected(SimulatedRealtime(script)) as client:
        for item in (
            text_item("The caller pressed 1"),
            text_item("Be brief", role="system"),
            text_item("We open at nine.", role="assistant"),
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_audio", "audio": audio}],
            },
        ):
            await client.send("conversation.item.create", item=item)
        for _ in range(2):
            await client.send("response.create", response={"instructions": "Greet."})
            await client.until("response.done")
        first, second = script.turns
        assert (first.texts, first.caller_audio) == (("The caller pressed 1",), tone(200))
        assert (first.instructions, first.requested) == ("Greet.", True)
        assert (second.texts, second.caller_audio) == ((), b"")


async def test_items_that_no_client_can_make(autojump_clock: MockClock) -> None:
    """Assistant audio, outputs without a call, and overlong ids are refused."""
    spoken = {"type": "output_audio", "audio": "AAAA"}
    async with connected(SimulatedRealtime(Silence())) as client:
        for item, code in (
            ({"type": "message", "role": "assistant", "content": [spoken]}, "invalid_value"),
            (
                {"type": "function_call_output", "call_id": "none", "output": ""},
                "invalid_tool_call_id",
            ),
            (text_item("x", id="x" * 33), "string_above_max_length"),
            ({"type": "message", "role": "user"}, "missing_required_parameter"),
        ):
            assert (await client.refused("conversation.item.create", item=item))["code"] == code


async def test_a_replayed_tool_call_takes_its_output(autojump_clock: MockClock) -> None:
    """A function_call that the client put in itself may be answered by it."""
    call = {"type": "function_call", "call_id": "call_9", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "call_9", "output": ""}
    async with connected(SimulatedRealtime(Silence())) as client:
        for item in (call, output):
            await client.send("conversation.item.create", item=item)
            done = await client.until("conversation.item.done")
            assert done["item"]["call_id"] == "call_9"
