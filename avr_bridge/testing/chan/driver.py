"""chan_websocket's queue as a machine: commands and media in, events out, one frame at each tick.

Does what the driver of Asterisk 22 was seen to do and what its source says, also where that is
awkward: the end of a message that fills no frame is lost unless media is being buffered, marks are
told at the tick *behind* the frame that they stand behind, a full queue drops whole messages, and
an unknown command is not answered. Knows no clock and no socket.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from avr_bridge.audio.format import (
    ALAW_8K,
    FRAME_MS,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    ULAW_8K,
    AudioFormat,
    Encoding,
)

__all__ = ["FORMATS", "MediaDriver"]

FORMATS = {
    "ulaw": ULAW_8K,
    "alaw": ALAW_8K,
    "slin": PCM16_8K,
    "slin16": PCM16_16K,
    "slin24": PCM16_24K,
    "slin48": AudioFormat(Encoding.PCM16, 48_000),
}
QUEUE_MAX, XOFF_LEVEL, XON_LEVEL = 1000, 900, 800
MOST_COMMAND_BYTES = 128


class MediaDriver:
    """One channel's driver.

    Args:
        codec: As after ``c(`` in the dial string.
        in_json: ``f(json)``.
        passthrough: ``p``.
        channel_id: The channel's unique id.
        variables: What JSON tells of the channel's variables.

    Attributes:
        answered: Whether ANSWER was received.
        hung_up: Whether HANGUP was received.
        flushes: How often FLUSH_MEDIA was.
        longest_queue: Most frames that ever waited.
        lost_bytes: Media that was dropped: ends of messages, and what came to a full queue.
        unknown: Commands that the driver does not know, or that are too long.
    """

    def __init__(
        self,
        codec: str = "ulaw",
        *,
        in_json: bool = False,
        passthrough: bool = False,
        channel_id: str = "1795379054.7",
        variables: dict[str, str] | None = None,
    ) -> None:
        self.codec = codec
        self.fmt = FORMATS[codec]
        self.in_json = in_json
        self.channel_id = channel_id
        self.answered = self.hung_up = False
        self.flushes = self.longest_queue = self.lost_bytes = 0
        self.unknown: list[str] = []
        self._passthrough = passthrough
        self._variables = variables or {}
        self._queue: deque[bytes | str] = deque()
        self._frames = 0
        self._rest = b""
        self._buffering = self._full = self._paused = self._tell_drained = False

    @property
    def queue_frames(self) -> int:
        """Frames that wait."""
        return self._frames

    def start(self) -> str:
        """The first event."""
        return self._event(
            "MEDIA_START",
            connection_id="bridge",
            channel="WebSocket/bridge/0x5140001a0040",
            channel_id=self.channel_id,
            format=self.codec,
            optimal_frame_size=self.fmt.frame_bytes,
            ptime=FRAME_MS,
            **({"channel_variables": self._variables} if self.in_json else {}),
        )

    def key(self, digit: str) -> str:
        """The event of a key."""
        return self._event("DTMF_END", digit=digit, channel_id=self.channel_id)

    def command(self, text: str) -> list[str]:
        """A text message came. Returns: the events that answer it at once."""
        if len(text.encode()) > MOST_COMMAND_BYTES:
            self.unknown.append(text)
            return []
        name, id_ = self._read(text)
        if name in _NOT_IN_PASSTHROUGH and self._passthrough:
            words = f"{name} not supported in passthrough mode"
            return [self._event("ERROR", channel_id=self.channel_id, error_text=words)]
        match name:
            case "ANSWER":
                self.answered = True
            case "HANGUP":
                self.hung_up = True
            case "START_MEDIA_BUFFERING":
                self._buffering = True
            case "STOP_MEDIA_BUFFERING":
                self._buffering = False
                if self._rest:
                    self._add(self._rest)
                    self._rest = b""
                self._queue.append(self._with_id("MEDIA_BUFFERING_COMPLETED", id_))
            case "MARK_MEDIA":
                self._queue.append(self._with_id("MEDIA_MARK_PROCESSED", id_))
            case "FLUSH_MEDIA":
                self._queue.clear()
                self._frames = 0
                self._rest = b""
                self._buffering = False
                self.flushes += 1
            case "REPORT_QUEUE_DRAINED":
                self._tell_drained = True
            case "PAUSE_MEDIA":
                self._paused = True
            case "CONTINUE_MEDIA":
                self._paused = False
            case "GET_STATUS":
                return [self._status()]
            case _:
                self.unknown.append(text)
        return []

    def media(self, data: bytes) -> list[str]:
        """A binary message came. Returns: MEDIA_XOFF if the queue is full with it."""
        if self._frames >= QUEUE_MAX:
            self.lost_bytes += len(data)
            return []
        if self._buffering:
            data, self._rest = self._rest + data, b""
        step = self.fmt.frame_bytes
        whole = len(data) - len(data) % step
        events = []
        for at in range(0, whole, step):
            self._add(data[at : at + step])
        if self._buffering:
            self._rest = data[whole:]
        else:
            self.lost_bytes += len(data) - whole
        if not self._full and self._frames >= XOFF_LEVEL:
            self._full = True
            events.append(self._event("MEDIA_XOFF", **self._json_id()))
        return events

    def tick(self) -> tuple[bytes, list[str]]:
        """20 ms are over: the frame that is played now (silence if none), and events."""
        events: list[str] = []
        if self._paused:
            return self._silence(), events
        if self._full and self._frames < XON_LEVEL:
            self._full = False
            events.append(self._event("MEDIA_XON", **self._json_id()))
        if not self._queue and self._tell_drained:
            self._tell_drained = False
            events.append(self._event("QUEUE_DRAINED", **self._json_id()))
        while self._queue:
            head = self._queue.popleft()
            if isinstance(head, bytes):
                self._frames -= 1
                short = (self.fmt.frame_bytes - len(head)) // self.fmt.sample_bytes
                return head + self.fmt.silence(short), events
            events.append(head)
        return self._silence(), events

    def _silence(self) -> bytes:
        return self.fmt.silence(self.fmt.frame_samples)

    def _add(self, frame: bytes) -> None:
        self._queue.append(frame)
        self._frames += 1
        self.longest_queue = max(self.longest_queue, self._frames)

    def _read(self, text: str) -> tuple[str, str]:
        if not self.in_json:
            name, _, rest = text.strip().partition(" ")
            return name, rest
        try:
            found = json.loads(text)
        except ValueError:
            return "", ""
        if not isinstance(found, dict):
            return "", ""
        return str(found.get("command", "")), str(found.get("correlation_id", ""))

    def _json_id(self) -> dict[str, str]:
        return {"channel_id": self.channel_id} if self.in_json else {}

    def _with_id(self, event: str, id_: str) -> str:
        if self.in_json:
            return self._event(event, channel_id=self.channel_id, correlation_id=id_)
        return f"{event} {id_}".strip()

    def _status(self) -> str:
        flags = {
            "queue_full": self._full,
            "bulk_media": self._buffering,
            "media_paused": self._paused,
        }
        shown = flags if self.in_json else {name: str(on).lower() for name, on in flags.items()}
        return self._event(
            "STATUS",
            channel_id=self.channel_id,
            queue_length=self._frames,
            xon_level=XON_LEVEL,
            xoff_level=XOFF_LEVEL,
            **shown,
        )

    def _event(self, name: str, **values: Any) -> str:
        if self.in_json:
            return json.dumps({"event": name, **values}, separators=(",", ":"))
        return " ".join([name, *(f"{key}:{value}" for key, value in values.items())])


_NOT_IN_PASSTHROUGH = {
    "START_MEDIA_BUFFERING",
    "STOP_MEDIA_BUFFERING",
    "MARK_MEDIA",
    "FLUSH_MEDIA",
    "REPORT_QUEUE_DRAINED",
    "PAUSE_MEDIA",
    "CONTINUE_MEDIA",
}
