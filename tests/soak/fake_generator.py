"""A generator that places no call: it speaks the protocol and tells a scripted story at once.

Run as a program; the first argument is the story. Seconds are virtual: no time passes.
"""

from __future__ import annotations

import json
import sys
import time

RAMP_S, SETTLE_S = 2, 2


def write(**line: object) -> None:
    print(json.dumps(line), flush=True)


def tick(at_s: int, plan: dict[str, object], **changed: object) -> None:
    settled = at_s > RAMP_S + SETTLE_S
    write(
        **{
            "type": "tick",
            "at_s": at_s,
            "up": plan["calls"],
            "short_up": 0,
            "probes_ms": [21.0, 22.0, 23.0],
            "lost_probes": 0,
            "errors": {},
            "lag_ms": 1.5,
            "cpu": 0.25,
            "measured": settled,
            **changed,
        }
    )


def call(number: int, **changed: object) -> None:
    write(
        **{
            "type": "call",
            "number": number,
            "kind": "steady",
            "set_up_ms": 5.0,
            "first_audio_ms": 40.0,
            "talked_s": 20.0,
            "heard_share": 0.999,
            "model_heard_share": 0.998,
            "underruns": 0,
            "underrun_ms": 0.0,
            "gap_ms": 101.0,
            "probes_ms": [21.0, 22.0],
            "lost_probes": 0,
            **changed,
        }
    )


def main() -> None:
    story = sys.argv[1]
    plan = json.loads(sys.stdin.readline())
    if story == "never ready":
        print("cannot listen", file=sys.stderr)
        sys.exit(4)
    port = plan["model_port"]
    url = None if port is None else f"ws://127.0.0.1:{port or 8123}/v1/realtime"
    write(type="ready", model_url=url)
    assert sys.stdin.readline() == "go\n"
    if story == "refused":
        for second in range(1, 4):
            tick(second, plan, up=0, probes_ms=[], errors={"refused": 2})
        for number in range(plan["calls"]):
            call(number, set_up_ms=None, talked_s=0, heard_share=0, ended_by="container",
                 error="refused")  # fmt: skip
        write(type="done")
        return
    stories: dict[str, dict[str, object]] = {
        "slow": {"probes_ms": [21.0, 150.0]},
        "busy": {"cpu": 0.97},
        "tearful": {"probes_ms": [21.0, float(plan["calls"])]},
    }
    changed = stories.get(story, {})
    for second in range(1, RAMP_S + SETTLE_S + round(plan["duration_s"]) + 1):
        tick(second, plan, **changed)
        if story == "dies" and second == 6:
            print("Traceback: it broke", file=sys.stderr)
            sys.exit(7)
        if story == "cut" and second == RAMP_S + SETTLE_S + 8:
            break
    if story in ("endless", "cut"):
        assert sys.stdin.readline() == "stop\n"
    if story == "deaf":
        time.sleep(3600)
    for number in range(plan["calls"]):
        call(number)
    write(type="done")


main()
