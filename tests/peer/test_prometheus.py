"""Metrics, alerts and dashboard before Prometheus' own judge: promtool, and a Prometheus that
collects from a running bridge."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trio
import yaml

from avr_bridge.soak.container import free_port
from avr_bridge.testing import Say, Script, SimulatedRealtime, clip, read_wav
from avr_bridge.testing.caller import open_simulated_call
from tests.unit.metrics_seen import filled, text
from tests.unit.test_metrics_page import CHECKOUT, expressions
from tests.wire.conftest import open_bridge

if TYPE_CHECKING:
    from pathlib import Path

PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(PROMTOOL is None, reason="promtool (Prometheus) is not installed"),
]

ALERTS = CHECKOUT / "examples" / "prometheus" / "alerts.yml"
LIMIT_S = 60
TOKEN = "a-secret-of-monitors-5678"


def promtool(*arguments: str, given: str = "") -> str:
    """Run it, with something on its standard input. What it says; it must find no fault."""
    assert PROMTOOL is not None
    ran = subprocess.run(
        [PROMTOOL, *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_names_and_kinds_are_as_they_should_be() -> None:
    """promtool reads the page with every series in it, and has nothing to say about its style."""
    assert promtool("check", "metrics", given=text(filled())).strip() == ""


def test_the_alerts_are_rules() -> None:
    """All of them are read, and none is doubled."""
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", str(ALERTS))
    assert re.search(r"SUCCESS: \d+ rules found", said)


def test_every_query_of_the_dashboard_can_be_asked(tmp_path: Path) -> None:
    """With Grafana's own variables filled in, each is PromQL."""
    rules = []
    for number, (where, query) in enumerate(expressions()):
        plain = query.replace("$__rate_interval", "5m").replace("$job", ".+")
        rules.append(
            {"record": f"dashboard:query:{number}", "expr": plain, "labels": {"of": where}}
        )
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(path))


MODEL_FAILS = {
    'avr_bridge_calls_ended_total{job="j",reason="model_closed"}': "0+2x30",
    'avr_bridge_calls_ended_total{job="j",reason="caller_hung_up"}': "0+8x30",
}
ALL_WELL = {
    'avr_bridge_calls_ended_total{job="j",reason="model_closed"}': "0x30",
    'avr_bridge_calls_ended_total{job="j",reason="caller_hung_up"}': "0+8x30",
}
ONE_CALL_FAILS = {
    'avr_bridge_calls_ended_total{job="j",reason="model_closed"}': "0x21 1x8",
    'avr_bridge_calls_ended_total{job="j",reason="caller_hung_up"}': "0x19 1x10",
}
REFUSED = 'avr_bridge_calls_refused_total{job="j",why="limit"}'
FULL = {
    'avr_bridge_calls{job="j"}': "95x30",
    'avr_bridge_calls_limit{job="j"}': "100x30",
}
UNLIMITED = {
    'avr_bridge_calls{job="j"}': "95x30",
    'avr_bridge_calls_limit{job="j"}': "0x30",
}
ONE_FULL_OF_TWO = {
    'avr_bridge_calls{job="j",instance="a"}': "95x30",
    'avr_bridge_calls_limit{job="j",instance="a"}': "100x30",
    'avr_bridge_calls{job="j",instance="b"}': "0x30",
    'avr_bridge_calls_limit{job="j",instance="b"}': "100x30",
}
ONE_UNLIMITED_OF_TWO = {
    'avr_bridge_calls{job="j",instance="a"}': "10x30",
    'avr_bridge_calls_limit{job="j",instance="a"}': "100x30",
    'avr_bridge_calls{job="j",instance="b"}': "95x30",
    'avr_bridge_calls_limit{job="j",instance="b"}': "0x30",
}
SLOW = {
    'avr_bridge_turn_latency_seconds_bucket{job="j",le="3"}': "0+1x30",
    'avr_bridge_turn_latency_seconds_bucket{job="j",le="5"}': "0+10x30",
    'avr_bridge_turn_latency_seconds_bucket{job="j",le="+Inf"}': "0+10x30",
}
ENDED_BY_BUG = 'avr_bridge_calls_ended_total{job="j",reason="internal_error"}'
LAG = 'avr_bridge_event_loop_lag_seconds{job="j",worker="1"}'
LOST = 'avr_bridge_sessions_lost_total{job="j"}'
FAILED = 'avr_bridge_tool_seconds_count{job="j",tool="t",outcome="error"}'
DONE = 'avr_bridge_tool_seconds_count{job="j",tool="t",outcome="ok"}'
WANTED = 'avr_bridge_workers_wanted{job="j"}'
WORKER_GONE = {'avr_bridge_workers{job="j"}': "4x20 3x10", WANTED: "4x30"}
FEWER_WORKERS = {'avr_bridge_workers{job="j"}': "4x20 2x10", WANTED: "4x20 2x10"}
DEATHS = 'avr_bridge_worker_deaths_total{job="j"}'
CALLS, UNDERRUNS = 'avr_bridge_calls{job="j"}', 'avr_bridge_underruns_total{job="j"}'
BREAKS_UP = {CALLS: "4x30", UNDERRUNS: "0+3x30"}
ONE_HICCUP = {CALLS: "0x24 1 0x5", UNDERRUNS: "0x24 1x6"}
FEW_IN_MANY_CALLS = {CALLS: "100x30", UNDERRUNS: "0+20x30"}
RECORDS = 'avr_bridge_call_records_total{job="j",outcome="dropped"}'
UNPRICED = 'avr_bridge_unpriced_total{job="j",of="response",why="%s"}'
GONE = {
    'up{job="j",instance="a"}': "1x20 0x10",
    'avr_bridge_info{job="j",instance="a",version="1"}': "1x20 stale",
}
GONE_FOR_LONG = {
    'up{job="j",instance="a"}': "1x20 0x2000",
    'avr_bridge_info{job="j",instance="a",version="1"}': "1x20 stale",
}
SOMEBODY_ELSE_GONE = {'up{job="k",instance="a"}': "1x20 0x10"}


@pytest.mark.parametrize(
    ("alert", "series", "fires"),
    [
        ("AvrBridgeModelFails", MODEL_FAILS, 1),
        ("AvrBridgeModelFails", ALL_WELL, 0),
        ("AvrBridgeModelFails", ONE_CALL_FAILS, 0),
        ("AvrBridgeRefusesCalls", {REFUSED: "0x24 1x6"}, 0),
        ("AvrBridgeRefusesCalls", {REFUSED: "0x22 1 2 3x6"}, 1),
        ("AvrBridgeNearlyFull", FULL, 1),
        ("AvrBridgeNearlyFull", ONE_FULL_OF_TWO, 1),
        ("AvrBridgeNearlyFull", ONE_UNLIMITED_OF_TWO, 0),
        ("AvrBridgeNearlyFull", UNLIMITED, 0),
        ("AvrBridgeSlowAnswers", SLOW, 1),
        ("AvrBridgeBug", {ENDED_BY_BUG: "0x20 1x10"}, 1),
        ("AvrBridgeBug", {ENDED_BY_BUG: "1x30"}, 0),
        ("AvrBridgeLate", {LAG: "0.01x20 0.2x10"}, 1),
        ("AvrBridgeLate", {LAG: "0.05x30"}, 0),
        ("AvrBridgeSessionsBreak", {LOST: "0+2x30"}, 1),
        ("AvrBridgeSessionsBreak", {LOST: "0+0.5x30"}, 0),
        ("AvrBridgeToolFails", {FAILED: "0+1x30", DONE: "0+1x30"}, 1),
        ("AvrBridgeToolFails", {FAILED: "0+1x30", DONE: "0+9x30"}, 0),
        ("AvrBridgeWorkerMissing", WORKER_GONE, 1),
        ("AvrBridgeWorkerMissing", FEWER_WORKERS, 0),
        ("AvrBridgeWorkersDie", {DEATHS: "0x20 1 1 2 2 3x5"}, 1),
        ("AvrBridgeWorkersDie", {DEATHS: "0x20 1 1 2x7"}, 0),
        ("AvrBridgeSoundBreaksUp", BREAKS_UP, 1),
        ("AvrBridgeSoundBreaksUp", ONE_HICCUP, 0),
        ("AvrBridgeSoundBreaksUp", FEW_IN_MANY_CALLS, 0),
        ("AvrBridgeRecordsDropped", {RECORDS: "0x20 1x10"}, 1),
        ("AvrBridgeRecordsDropped", {RECORDS: "1x30"}, 0),
        ("AvrBridgeCostUnknown", {UNPRICED % "no_price": "0+1x30"}, 1),
        ("AvrBridgeCostUnknown", {UNPRICED % "no_bill": "0+1x30"}, 0),
        ("AvrBridgeDown", GONE, 1),
        ("AvrBridgeDown", SOMEBODY_ELSE_GONE, 0),
    ],
)
def test_an_alert_fires_when_it_should(
    tmp_path: Path, alert: str, series: dict[str, str], fires: int
) -> None:
    """After half an hour of such numbers, and not when all is well."""
    judge(tmp_path, alert, series, fires)


@pytest.mark.parametrize(("after", "fires"), [("20h", 1), ("30h", 0)])
def test_a_bridge_that_is_gone_is_told_of_for_a_day(tmp_path: Path, after: str, fires: int) -> None:
    """Then it is taken for one that was put away."""
    judge(tmp_path, "AvrBridgeDown", GONE_FOR_LONG, fires, after)


def judge(
    tmp_path: Path, alert: str, series: dict[str, str], fires: int, after: str = "29m"
) -> None:
    """Have promtool say how many such alerts fire after so long."""
    case: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": seen} for name, seen in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
                "eval_time": after,
                "exp_samples": [{"labels": "{}", "value": fires}],
            }
        ],
    }
    path = tmp_path / "case.yml"
    path.write_text(
        yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [case]})
    )
    promtool("test", "rules", str(path))


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")
async def test_a_prometheus_collects_it(tmp_path: Path) -> None:
    """As docs/metrics.md says, with the secret: the target is up, and a call's numbers arrive."""
    assert PROMETHEUS is not None
    script = Script([[Say(read_wav(clip("question")), 8000, "welcome")]])
    with trio.fail_after(LIMIT_S):
        async with open_bridge(SimulatedRealtime(script), metrics_token=TOKEN) as bridge:
            async with open_simulated_call(bridge.ws) as call:
                await call.wait_heard_speech()
            await bridge.wait_ended()
            job = {
                "job_name": "avr-bridge",
                "static_configs": [{"targets": [bridge.http.removeprefix("http://")]}],
                "authorization": {"credentials": TOKEN},
            }
            path = tmp_path / "prometheus.yml"
            scrape = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
            path.write_text(yaml.safe_dump(scrape | {"rule_files": [str(ALERTS)]}))
            ended = await _asked(tmp_path, path, "sum(avr_bridge_calls_ended_total)")
    assert ended == 1


async def _asked(folder: Path, config: Path, query: str) -> float:
    """A Prometheus' answer, once it has one that is not 0."""
    port = free_port()
    command = [
        str(PROMETHEUS),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with httpx2.AsyncClient() as client:
            while True:
                assert process.poll() is None, "Prometheus ended"
                await trio.sleep(0.3)
                try:
                    got = await client.get(
                        f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}
                    )
                except httpx2.TransportError:
                    continue
                found = json.loads(got.text).get("data", {}).get("result", [])
                if found and float(found[0]["value"][1]) > 0:
                    return float(found[0]["value"][1])
    finally:
        process.terminate()
        with trio.move_on_after(10, shield=True):
            await process.wait()
