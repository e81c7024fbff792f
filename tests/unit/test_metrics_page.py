"""What is written about the metrics is true: the page, the dashboard and the alerts name those that
exist, with labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from avr_bridge.telemetry.metrics_text import families_of
from tests.unit.metrics_seen import filled

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "metrics.md").read_text("utf-8")
DASHBOARD = json.loads((CHECKOUT / "examples" / "grafana" / "avr-bridge.json").read_text("utf-8"))
ALERTS = yaml.safe_load((CHECKOUT / "examples" / "prometheus" / "alerts.yml").read_text("utf-8"))
RULES: list[dict[str, Any]] = ALERTS["groups"][0]["rules"]

FAMILIES = families_of(filled().registry)
LABELS = {
    sample.name: {label for label in sample.labels if label != "le"}
    for family in FAMILIES
    for sample in family.samples
}
"""By the name of a sample, as queries have it."""

ADDED_BY_PROMETHEUS = {"job", "instance"}


def shown(family: Any) -> str:
    """A family's name as in the text."""
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def test_every_metric_has_its_row() -> None:
    """With its kind and its labels; and no row is of one that is not."""
    row = re.compile(r"^\| `(avr_bridge_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
    rows = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in row.findall(PAGE)
    }
    exist = {}
    for family in FAMILIES:
        labels = {name for one in family.samples for name in one.labels if name != "le"}
        exist[shown(family)] = (family.type, labels)
    assert rows == exist


def test_every_value_of_a_label_is_named() -> None:
    """Of those labels that have few: their words stand in the metric's row."""
    for name, label in (
        ("calls_refused_total", "why"),
        ("session_setup_seconds", "session"),
        ("responses_total", "status"),
        ("call_records_total", "outcome"),
        ("unpriced_total", "why"),
        ("tokens_total", "of"),
        ("tokens_total", "flow"),
        ("tokens_total", "kind"),
    ):
        (row,) = re.findall(rf"^\| `avr_bridge_{name}` .*", PAGE, re.MULTILINE)
        found = {
            one.labels[label]
            for family in FAMILIES
            if shown(family) == f"avr_bridge_{name}"
            for one in family.samples
        }
        assert found
        assert [word for word in found if f"`{word}`" not in row] == []


def expressions() -> list[tuple[str, str]]:
    """Where each query stands, and the query."""
    panels = [
        (f"panel {panel['title']}", target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]
    return [*panels, *((f"alert {rule['alert']}", rule["expr"]) for rule in RULES)]


@pytest.mark.parametrize(("where", "query"), expressions())
def test_queries_ask_for_what_there_is(where: str, query: str) -> None:
    """Each name is one of a sample, and each label one that those samples have."""
    names = set(re.findall(r"avr_bridge_\w+", query))
    assert names, where
    assert names <= LABELS.keys(), where
    labels = ADDED_BY_PROMETHEUS.union(*(LABELS[name] for name in names))
    labels |= {"le"} if any(name.endswith("_bucket") for name in names) else set()
    used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        used |= {word.strip() for word in group.split(",")}
    assert used <= labels, where


def test_every_metric_is_on_the_dashboard() -> None:
    """But for those that say what runs, and not how."""
    queries = " ".join(query for where, query in expressions() if where.startswith("panel"))
    missing = {shown(family) for family in FAMILIES if not re.search(rf"\b{family.name}", queries)}
    quiet = {"avr_bridge_info", "avr_bridge_workers", "avr_bridge_responses_total"}
    quiet |= {
        "avr_bridge_workers_wanted",
        "avr_bridge_calls_started_total",
        "avr_bridge_transcribed_seconds_total",
    }
    assert missing == quiet


def test_the_dashboard_can_be_imported() -> None:
    """Ids are given once, nothing overlaps, and every source is the variable that it asks for."""
    panels = DASHBOARD["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["description"].endswith(".")
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "job"}


def test_the_page_says_what_to_do_about_each_alert() -> None:
    """And tells of none that is not."""
    told = set(re.findall(r"^\| `(AvrBridge\w+)` ", PAGE, re.MULTILINE))
    assert told == {rule["alert"] for rule in RULES}


def test_the_page_tells_every_field_of_the_line() -> None:
    """Of the line at a call's end."""
    from avr_bridge.telemetry.summary import summary_fields
    from tests.unit.test_summary import ENDED

    part = PAGE.partition("## The line at a call's end")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", part, re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(summary_fields(ENDED, metadata_values=True))
