"""The server's side of one session, without I/O: client events in, server events and deeds out.

Takes messages apart and hands them to the parts that know the rules: `caller_turns.py`, `items.py`,
`responses.py`. Clock and connection belong to `session.py`; other dialects are translated on the
way in here and on the way out in `SessionState.emit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from avr_bridge.testing.realtime.caller_turns import CallerTurns
from avr_bridge.testing.realtime.dialects import ForcedWords
from avr_bridge.testing.realtime.items import ItemDesk
from avr_bridge.testing.realtime.refusal import Refusal
from avr_bridge.testing.realtime.responses import ResponseDesk
from avr_bridge.testing.realtime.schema import check_client_event
from avr_bridge.testing.realtime.settings import update_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.testing.realtime.state import SessionState

__all__ = ["Dialogue"]


class Dialogue:
    """The rules of one session. `begin` sends the first event, `handle` takes the client's."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._responses = responses = ResponseDesk(state)
        self._turns = CallerTurns(state, responses)
        items = ItemDesk(state)
        self._deeds: dict[str, Callable[[dict[str, Any]], None]] = {
            "session.update": self._session_update,
            "input_audio_buffer.append": self._turns.append,
            "input_audio_buffer.commit": self._turns.commit,
            "input_audio_buffer.clear": self._turns.clear,
            "conversation.item.create": items.create,
            "conversation.item.truncate": items.truncate,
            "conversation.item.delete": items.delete,
            "conversation.item.retrieve": items.retrieve,
            "response.create": responses.create,
            "response.cancel": responses.cancel,
            "output_audio_buffer.clear": self._output_clear,
        }

    def begin(self) -> None:
        """`session.created`, and what else a connection begins with in this dialect."""
        conversation = {"id": self._state.conversation_id, "object": "realtime.conversation"}
        for event in self._state.dialect.opening(self._state.session, conversation):
            self._state.emit(event)

    def handle(self, message: bytes | str) -> dict[str, Any] | None:
        """Take one message of the client. Whatever is wrong with it becomes an `error` event.

        Returns:
            The decoded event as the client sent it, if it was a JSON object.
        """
        event: Any = None
        try:
            event = _decoded(message)
            self._obey(event)
        except Refusal as refusal:
            self._refuse(refusal, event)
        return event if isinstance(event, dict) else None

    def _obey(self, event: Any) -> None:
        core = self._state.dialect.to_core(event) if isinstance(event, dict) else event
        if isinstance(core, ForcedWords):
            self._responses.speak(core.text, interruptible=core.interruptible)
            return
        check_client_event(core)
        if self._state.host.saboteur.stalls(core, after_tool=bool(self._state.pending.outputs)):
            return
        self._deeds[core["type"]](core)

    def _refuse(self, refusal: Refusal, event: Any) -> None:
        event_id = event.get("event_id") if isinstance(event, dict) else None
        self._state.emit(refusal.event(event_id if isinstance(event_id, str) else None))

    def _session_update(self, event: dict[str, Any]) -> None:
        options = self._state.host.options
        if not options.answer_session_update:
            return
        if options.updated_delay_s:
            self._state.host.later(options.updated_delay_s, lambda: self._retry(event))
        else:
            self._apply(event)

    def _retry(self, event: dict[str, Any]) -> None:
        try:
            self._apply(event)
        except Refusal as refusal:
            self._refuse(refusal, event)

    def _apply(self, event: dict[str, Any]) -> None:
        self._state.session = update_session(
            self._state.session,
            event["session"],
            voice_locked=self._state.voice_locked,
            g711=self._state.host.options.g711,
        )
        self._turns.configure()
        self._state.emit({"type": "session.updated", "session": self._state.session})

    def _output_clear(self, event: dict[str, Any]) -> None:
        raise Refusal(
            "invalid_value", "output_audio_buffer.clear is for WebRTC and SIP sessions only."
        )


def _decoded(message: bytes | str) -> Any:
    if isinstance(message, bytes):
        raise Refusal("invalid_value", "Invalid message: binary messages are not supported.")
    try:
        return msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Refusal(
            "invalid_json", "Invalid event: the message could not be parsed as JSON."
        ) from None
