"""Asterisk's manager protocol without the socket: packets of ``Name: value`` lines, and who is who.

Source: Asterisk's documentation of AMI actions, and its answers as seen with 22.10.1. Pure.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs

from avr_bridge.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LegId", "Packet", "PacketReader", "action", "caller_channel", "login_key"]

MOST_WAITING_BYTES = 64 * 1024
"""That are no whole packet yet, or not read: one of a channel has 700 bytes, and each is read as
soon as it is whole."""


@attrs.frozen
class LegId:
    """What is known here of a leg.

    Attributes:
        channel_id: Unique id of the leg's own channel, where it has one (chan_websocket).
        uuid: What the dialplan gave to AudioSocket().
    """

    channel_id: str = ""
    uuid: str = ""


@attrs.frozen
class Packet:
    """One packet; names as Asterisk writes them."""

    values: dict[str, str]

    def get(self, name: str) -> str:
        """A value; nothing where there is none."""
        return self.values.get(name, "")

    @property
    def ok(self) -> bool:
        """Whether it answers an action that was done."""
        return self.get("Response") == "Success"

    @property
    def message(self) -> str:
        """What it says, cut short."""
        return self.get("Message")[:200] or "no reason was given"


class PacketReader:
    """What came over the socket, cut anywhere, to packets. The greeting line is left out."""

    def __init__(self) -> None:
        self._waiting = b""

    def push(self, data: bytes) -> None:
        """Take what came.

        Raises:
            ToolError: More than any Asterisk says.
        """
        self._waiting += data
        if len(self._waiting) > MOST_WAITING_BYTES:
            raise ToolError("Asterisk's manager says too much")

    def next(self) -> Packet | None:
        """The next whole packet, if there is one."""
        if self._waiting.startswith(b"Asterisk Call Manager"):
            _line, end, rest = self._waiting.partition(b"\r\n")
            if not end:
                return None
            self._waiting = rest
        whole, end, rest = self._waiting.partition(b"\r\n\r\n")
        if not end:
            return None
        self._waiting = rest
        lines = whole.decode("utf-8", "replace").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return Packet({name.strip(): value.strip() for name, colon, value in pairs if colon})


def action(name: str, **values: str) -> bytes:
    """One action's bytes.

    Raises:
        ToolError: A value has a line break, which would begin another line, or action.
    """
    lines = {"Action": name, **values}
    if any(sign in value for value in lines.values() for sign in "\r\n\0"):
        raise ToolError("a line break cannot be sent to Asterisk")
    return "".join(f"{key}: {value}\r\n" for key, value in lines.items()).encode() + b"\r\n"


def login_key(challenge: str, password: str) -> str:
    """The answer to a challenge, in place of the password."""
    return hashlib.md5((challenge + password).encode(), usedforsecurity=False).hexdigest()


def caller_channel(channels: Sequence[Packet], leg: LegId) -> str | None:
    """The name of the channel that the caller is on, among all there are.

    Of chan_websocket the leg is a channel of its own: the caller's is the other one in its bridge,
    or, before they are bridged, the one that began it all. Of AudioSocket() the leg is the
    caller's own channel, which runs the application with the UUID.
    """
    own = next(
        (c for c in channels if leg.channel_id and c.get("Uniqueid") == leg.channel_id), None
    )
    if own is not None:
        bridge, linked = own.get("BridgeId"), own.get("Linkedid")
        others = [c for c in channels if c is not own]
        together = [c for c in others if bridge and c.get("BridgeId") == bridge]
        first = [c for c in others if c.get("Uniqueid") == linked]
        found = (together if len(together) == 1 else []) or first
        return found[0].get("Channel") if found else None
    if not leg.uuid:
        return None
    for channel in channels:
        if leg.uuid.lower() in channel.get("ApplicationData").lower():
            return channel.get("Channel")
    return None
