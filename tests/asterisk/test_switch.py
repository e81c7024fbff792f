"""The harness itself, with an echo in the bridge's place: a local call is true to the sample."""

from __future__ import annotations

import trio

from avr_bridge.testing import likeness
from tests.asterisk.busy import in_real_time
from tests.asterisk.echo import DTMF, SLIN, UUID, Echo
from tests.asterisk.recordings import pieces
from tests.asterisk.switch import open_asterisk

LIMIT_S = 60


@in_real_time
async def test_an_echo_comes_back_to_the_caller(question: bytes) -> None:
    """Each sample that the caller says comes to the peer and back to its ear; keys come too. At the
    end the switch has no channel left."""
    echo = Echo()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(echo.serve)
            steps = ["Playback(sounds/question)", "SendDTMF(12)", "Wait(1)"]
            addresses = {"127.0.0.1:6031": f"127.0.0.1:{port}"}
            async with open_asterisk(steps, addresses, {"question": question}) as switch:
                await switch.place("5001@avr-audiosocket")
                await switch.wait_over()
                await switch.wait_idle()
                heard, said = switch.heard(), switch.said()
            nursery.cancel_scope.cancel()
    kinds = [kind for kind, _ in echo.frames]
    assert kinds[0] == UUID
    assert [payload for kind, payload in echo.frames if kind == DTMF] == [b"1", b"2"]
    came = b"".join(payload for kind, payload in echo.frames if kind == SLIN)
    for recording in (came, said, heard):
        assert likeness(question, recording).correlation > 0.999
    late_ms = likeness(question, heard).offset_ms - likeness(question, said).offset_ms
    print(f"\n  an echo is back after {late_ms:.0f} ms")
    assert 0 <= late_ms < 100


@in_real_time
async def test_two_switches_run_at_once(question: bytes) -> None:
    """Each has its own folder and its own calls; stopping one leaves the other alone."""
    with trio.fail_after(LIMIT_S):
        async with open_asterisk(["Wait(1)"], {}, {"elsewhere": question}) as first:
            async with open_asterisk(["Wait(30)"], {}, {"elsewhere": question}) as second:
                await first.place("200@elsewhere")
                await second.place("200@elsewhere")
                await first.wait_over()
                assert await second.channels() == 2
            assert not second.folder.exists()
            await first.wait_idle()
            heard = first.heard()
    assert pieces(question[: len(heard)], heard).correlation > 0.9
