"""Between text frames and our events, in whatever dialect the server speaks.

GA, the vocabulary inside, takes the short way; other dialects go through dicts. Pure: the
connection in `client.py` owns one translator, since a dialect remembers what a server leaves out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from avr_bridge.upstream.commands import (
    AppendAudio,
    Command,
    SpeakWords,
    encode_command,
    plain_command,
)
from avr_bridge.upstream.dialect import DialectName, make_dialect, verified_dialect
from avr_bridge.upstream.events import ServerEvent, Unknown, decode_event, event_of

__all__ = ["Translator"]


class Translator:
    """One connection's.

    Args:
        name: The dialect, as set or as guessed from the address.
        verify: Believe the first `session.created` instead, if it says otherwise.
    """

    def __init__(self, name: DialectName, *, verify: bool) -> None:
        self._dialect = make_dialect(name)
        self._unverified = verify

    @property
    def dialect(self) -> DialectName:
        """What the server speaks, as far as is known by now."""
        return self._dialect.name

    def read(self, message: bytes | str) -> list[ServerEvent | Unknown]:
        """The events of one text frame. Never raises."""
        if self.dialect is DialectName.GA and not self._unverified:
            return [decode_event(message)]
        try:
            event: Any = msgspec.json.decode(message)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as misfit:
            return [Unknown("", str(misfit))]
        if not isinstance(event, dict):
            return [Unknown("", "no object")]
        if self._unverified and event.get("type") == "session.created":
            self._unverified = False
            name = verified_dialect(self.dialect, event)
            if name is not self.dialect:
                self._dialect = make_dialect(name)
        return [event_of(one) for one in self._dialect.decode(event)]

    def write(self, command: Command) -> list[str]:
        """The text frames of one command; none where the server has no such thing."""
        if isinstance(command, SpeakWords):
            exact = self._dialect.welcome(command.text)
            if exact is not None:
                return [_json(event) for event in exact]
        ga_append = type(command) is AppendAudio and self._dialect.passes_audio_append
        if ga_append or self.dialect is DialectName.GA:
            return [encode_command(command)]
        event = self._dialect.encode(plain_command(command))
        return [] if event is None else [_json(event)]


def _json(event: dict[str, Any]) -> str:
    return msgspec.json.encode(event).decode()
