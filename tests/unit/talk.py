"""A conversation's state machine in the hands of a test: events in, actions out, and the time."""

from __future__ import annotations

import json
from typing import Any

import attrs

from avr_bridge import ModelConfig, TalkConfig
from avr_bridge.upstream.actions import Action, Send
from avr_bridge.upstream.commands import Command
from avr_bridge.upstream.conversation import Conversation
from avr_bridge.upstream.events import decode_event


@attrs.define(eq=False)
class Talk:
    """A conversation, and the time."""

    machine: Conversation
    now_s: float = 0.0
    responses: int = 0

    def feed(self, type: str, **fields: Any) -> list[Action]:
        message = json.dumps({"type": type, "event_id": "e", **fields})
        return self.machine.handle(decode_event(message), self.now_s)

    def wait(self) -> list[Action]:
        """Until the next deadline."""
        self.now_s = self.machine.next_deadline_s
        return self.machine.tick(self.now_s)

    def created(self) -> list[Action]:
        """The server begins another response, its own or one that was asked for."""
        self.responses += 1
        response = {"id": f"R{self.responses}", "status": "in_progress"}
        return self.feed("response.created", response=response)

    def item(self, item_id: str = "A") -> None:
        item = {"id": item_id, "type": "message", "role": "assistant", "status": "in_progress"}
        self.feed("conversation.item.added", item=item)

    def sound(self, item_id: str = "A", ms: int = 100) -> list[Action]:
        sound = "f39/" * (ms * 8 // 3)
        """Sound of the running response, in a format of 8 bytes for each ms."""
        place = {"item_id": item_id, "response_id": f"R{self.responses}", "content_index": 0}
        return self.feed("response.output_audio.delta", delta=sound, **place)

    def words(self, text: str, item_id: str = "A") -> list[Action]:
        kind = "response.output_audio_transcript.done"
        return self.feed(kind, item_id=item_id, transcript=text)

    def done(self, status: str = "completed", **fields: Any) -> list[Action]:
        response = {"id": f"R{self.responses}", "status": status}
        return self.feed("response.done", response=response | fields)

    def answered(self) -> None:
        """One whole answer, heard."""
        self.created()
        self.item()
        self.sound()
        self.done()
        self.machine.item_heard("A", self.now_s)

    def press(self, key: str = "#") -> list[Action]:
        return self.machine.key_pressed(key, self.now_s)


def opened(model: dict[str, Any] | None = None, **talk: Any) -> Talk:
    """A session just in force: what greets has been asked for."""
    talked = Talk(Conversation(ModelConfig(**(model or {})), TalkConfig(**talk), "be kind"))
    talked.feed("session.created", session={})
    talked.feed("session.updated", session={"type": "realtime"})
    return talked


def ready(model: dict[str, Any] | None = None, **talk: Any) -> Talk:
    """A session that has greeted."""
    talked = opened(model, **talk)
    talked.answered()
    return talked


def commands[Kind: Command](actions: list[Action], kind: type[Kind]) -> list[Kind]:
    sent = [action.command for action in actions if isinstance(action, Send)]
    return [command for command in sent if isinstance(command, kind)]
