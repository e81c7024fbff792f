"""What AVR_CALL_WEBHOOK is sent of a call: its record with the transcript, and the signature.

Pure: listens to the journal and makes bytes. Sending them is `webhook.py`'s.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from avr_bridge.telemetry.journal import CallBegan, CallEnded, Moment, Transcript
from avr_bridge.telemetry.summary import summary_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.config import Secret

__all__ = ["SIGNATURE", "TIMESTAMP", "CallRecord", "CallRecords", "headers_of", "signature_of"]

MOST_TRANSCRIPT_CHARS = 256 * 1024
"""Of one call: five hours of talk without a pause. What comes behind it is left out."""

DELIVERY, TIMESTAMP, SIGNATURE = "X-AVR-Delivery", "X-AVR-Timestamp", "X-AVR-Signature"

VERSION = "v1"


@attrs.frozen
class CallRecord:
    """One call's, ready to be sent.

    Attributes:
        call: The call's uuid.
        delivery: A name of its own, the same at each attempt.
        body: JSON.
    """

    call: str
    delivery: str
    body: bytes = attrs.field(repr=False)


@attrs.define(eq=False)
class _Call:
    began_s: float
    lines: list[dict[str, Any]] = attrs.field(factory=list)
    chars: int = 0
    cut: bool = False


class CallRecords:
    """A listener of the journal that makes one record of each call that said its uuid.

    Args:
        take: Gets each record; must neither block nor raise.
        clock: Unix seconds.
    """

    def __init__(
        self, take: Callable[[CallRecord], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._take = take
        self._clock = clock
        self._calls: dict[str, _Call] = {}

    def __call__(self, call: str, moment: Moment) -> None:
        """Something happened in a call."""
        match moment:
            case CallBegan():
                self._calls[call] = _Call(moment.at_s)
            case Transcript() if call in self._calls:
                self._add(self._calls[call], moment)
            case CallEnded() if call in self._calls:
                self._take(self._record(self._calls.pop(call), moment))

    def _add(self, call: _Call, said: Transcript) -> None:
        call.chars += len(said.text)
        if call.chars > MOST_TRANSCRIPT_CHARS:
            call.cut = True
            return
        line = {"role": said.role, "text": said.text, "at_s": round(said.at_s - call.began_s, 3)}
        call.lines.append(line | ({"cut": True} if said.cut else {}))

    def _record(self, call: _Call, ended: CallEnded) -> CallRecord:
        delivery = str(uuid.uuid4())
        body: dict[str, Any] = {
            "type": "call_ended",
            "delivery": delivery,
            "ended_at": datetime.fromtimestamp(self._clock(), UTC).isoformat("T", "milliseconds"),
            **summary_fields(ended.summary, metadata_values=True),
            "transcript": call.lines,
        }
        if call.cut:
            body["transcript_cut"] = True
        return CallRecord(ended.summary.uuid, delivery, msgspec.json.encode(body))


def headers_of(record: CallRecord, secret: Secret | None, now_s: float) -> dict[str, str]:
    """The headers of one attempt to send a record.

    Args:
        record: What is sent.
        secret: Signs it; None: no signature.
        now_s: Unix seconds, part of what is signed: a receiver refuses what is old.
    """
    timestamp = str(int(now_s))
    headers = {
        "Content-Type": "application/json",
        DELIVERY: record.delivery,
        TIMESTAMP: timestamp,
    }
    if secret is not None:
        headers[SIGNATURE] = signature_of(secret.reveal(), timestamp, record.body)
    return headers


def signature_of(secret: str, timestamp: str, body: bytes) -> str:
    """``v1=`` and, in hex, the HMAC-SHA256 of timestamp, a dot and the body, as it was sent."""
    signed = f"{timestamp}.".encode() + body
    return f"{VERSION}={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"
