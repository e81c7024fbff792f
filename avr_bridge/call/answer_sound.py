"""The model's sound on its way to the caller: from deltas in the session's format to orders in that
of the caller's leg.

Between the conversation and the outbound pump. Knows formats, not turns: it also notices a model
that agreed to G.711 and sends PCM.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from avr_bridge.audio.format import PCM16_24K, AudioFormat, Encoding
from avr_bridge.audio.sniff import looks_like_pcm16
from avr_bridge.audio.transcode import Decoder
from avr_bridge.call.orders import FinishItemSound, Orders, PlaySound, SilenceNow

if TYPE_CHECKING:
    from collections.abc import Callable

    from avr_bridge.audio.playback import Heard
    from avr_bridge.upstream.actions import AnswerMeasured, FormatsAgreed

__all__ = ["AnswerSound"]

UNDECIDED_BYTES = 4096
"""Sound kept for telling G.711 from PCM: half a second of G.711, most of which may be silence."""

LEAST_MEASURED_MS = 1000
"""Answers shorter than this are too coarsely billed to tell a rate from."""


class AnswerSound:
    """One call's, through all its sessions.

    Args:
        leg: The format of the caller's leg.
        resampler_kind: As in the settings.
        silenced: Told the interrupted items and what was heard of them.
        item_heard: Told of each item that was heard to its end.
        ask_for_pcm: Has the session changed to PCM.
    """

    def __init__(
        self,
        orders: Orders,
        leg: AudioFormat,
        resampler_kind: str,
        log: Any,
        *,
        silenced: Callable[[frozenset[str] | None, list[Heard]], None],
        item_heard: Callable[[str], None],
        ask_for_pcm: Callable[[], None],
    ) -> None:
        self._orders = orders
        self._leg = leg
        self._resampler_kind = resampler_kind
        self._log = log
        self._silenced = silenced
        self._item_heard = item_heard
        self._ask_for_pcm = ask_for_pcm
        self._decoder: Decoder | None = None
        self._format: AudioFormat | None = None
        self._g711_trusted = False
        self._undecided = b""
        self._misread_bytes = 0
        self._pcm_forced = False

    def agree(self, formats: FormatsAgreed) -> None:
        """A session is in force: sound comes in this format from now on."""
        fmt = PCM16_24K if self._pcm_forced else formats.from_model
        if not formats.as_requested and not self._pcm_forced:
            self._log.warning(
                "model does not speak the audio format asked for",
                to_model=formats.to_model.encoding.value,
                from_model=fmt.encoding.value,
            )
        if fmt != self._format:
            self._decode_from(fmt)

    def play(self, item_id: str, data: bytes) -> None:
        """A delta, of any length."""
        if self._distrust_g711(data):
            # Half a sample may have gone before as a sample of its own.
            data = data[self._misread_bytes % 2 :]
        self._misread_bytes += len(data)
        if self._decoder is None:
            return  # sound before the session is in force: of no agreed format
        sound = self._decoder.decode(data)
        if sound:
            self._orders.give(PlaySound(sound, item_id))

    def finish(self, item_id: str) -> None:
        """The item is complete."""
        if self._decoder is not None:
            tail = self._decoder.flush()
            if tail:
                self._orders.give(PlaySound(tail, item_id))
        self._misread_bytes = 0
        self._orders.give(FinishItemSound(item_id, self._item_heard))

    def interrupt(self, items: frozenset[str] | None) -> None:
        """Nothing of these items (None: of any) is to be heard any more."""
        if self._decoder:
            self._decoder.reset()
        self._misread_bytes = 0
        self._orders.give(SilenceNow(partial(self._silenced, items)))

    def check_rate(self, answer: AnswerMeasured) -> None:
        """What the sound itself did not tell, the bill does: PCM has six times the bytes."""
        fmt = self._format
        if fmt is None or fmt.encoding is Encoding.PCM16 or answer.billed_ms < LEAST_MEASURED_MS:
            return
        as_g711_ms, as_pcm_ms = fmt.ms(answer.audio_bytes), PCM16_24K.ms(answer.audio_bytes)
        if abs(as_pcm_ms - answer.billed_ms) < abs(as_g711_ms - answer.billed_ms):
            self._g711_trusted = True
            # What is left of it is noise.
            self._orders.give(SilenceNow(partial(self._silenced, None)))
            self._switch_to_pcm()

    def _distrust_g711(self, data: bytes) -> bool:
        """Some models agree to G.711 and send PCM all the same: noise, unless it is noticed.

        Returns:
            Whether it was noticed just now.
        """
        fmt = self._format
        if self._g711_trusted or fmt is None or fmt.encoding is Encoding.PCM16:
            return False
        self._undecided = (self._undecided + data)[-UNDECIDED_BYTES:]
        verdict = looks_like_pcm16(self._undecided, fmt.encoding)
        if verdict is None:
            return False
        self._g711_trusted = True
        self._undecided = b""
        if verdict:
            self._orders.give(SilenceNow(lambda _heard: None))  # what was queued is noise
            self._switch_to_pcm()
        return verdict

    def _switch_to_pcm(self) -> None:
        self._log.warning("model sends PCM although it agreed to G.711: switching to PCM")
        self._pcm_forced = True
        self._decode_from(PCM16_24K)
        self._ask_for_pcm()

    def _decode_from(self, fmt: AudioFormat) -> None:
        self._format = fmt
        self._decoder = Decoder(fmt, self._resampler_kind, self._leg)
