"""examples/kubernetes: what the Kubernetes API's own schemas say of it, and that its parts agree
with each other, with the image and with our settings. There is no cluster.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from avr_bridge.config import ServerConfig, ToolsConfig
from avr_bridge.server.app import create_app
from avr_bridge.telemetry.metrics import Metrics
from avr_bridge.tools.loading import load_tools
from tests.unit.shown_settings import config_of

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "examples" / "kubernetes"
OBJECTS: list[dict[str, Any]] = [
    each for path in sorted(FOLDER.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())
]
VERSIONS = ("1.29", kubernetes_validate.latest_version())
"""From the first with all that we use to the newest whose schemas we have."""
KILL_MARGIN_S = 2
"""What docs/deployment.md asks for between the drain's end and the kill."""
KEY_FOLDER = "/run/secrets/avr-bridge"


def the(kind: str, name: str = "avr-bridge") -> dict[str, Any]:
    """An object of the example."""
    (found,) = [
        each for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found


POD: dict[str, Any] = the("Deployment")["spec"]["template"]["spec"]
(BRIDGE,) = POD["containers"]


def environment() -> dict[str, str]:
    """All variables of the container."""
    (source,) = BRIDGE["envFrom"]
    from_map = the("ConfigMap", source["configMapRef"]["name"])["data"]
    own = {each["name"]: each["value"] for each in BRIDGE["env"]}
    assert not set(from_map) & set(own)
    return {**from_map, **own}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("thing", OBJECTS, ids=lambda each: each["kind"])
def test_the_apis_schemas_accept_it(thing: dict[str, Any], version: str) -> None:
    """Strictly: no field that the API does not know."""
    kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("spec", "template", "spec", "terminationGracePeriodSecond"), 60),
        (("spec", "template", "spec", "terminationGracePeriodSeconds"), "an hour"),
        (("spec", "template", "spec", "containers"), None),
    ],
)
def test_the_schemas_would_find_a_fault(path: tuple[str, ...], wrong: object) -> None:
    """The judge is one: a name with a slip, a wrong type, and what is missing are refused."""
    thing = copy.deepcopy(the("Deployment"))
    *way, last = path
    place = thing
    for name in way:
        place = place[name]
    if wrong is None:
        del place[last]
    else:
        place[last] = wrong
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(thing, VERSIONS[-1], strict=True)


def test_every_variable_is_a_setting_and_its_value_can_be(tmp_path: Path) -> None:
    """And the grace period holds preStop, the whole drain and the end."""
    shown = environment()
    key_file = Path(shown["OPENAI_API_KEY_FILE"])
    assert str(key_file.parent) == KEY_FOLDER
    (tmp_path / "key").write_text("sk-of-a-test")
    config = config_of({**shown, "OPENAI_API_KEY_FILE": str(tmp_path / "key")})
    (sleep, pause) = BRIDGE["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    needed_s = int(pause) + config.server.drain_s + KILL_MARGIN_S
    assert POD["terminationGracePeriodSeconds"] >= needed_s
    written = f"--from-file={key_file.name}="
    assert written in (FOLDER / "config.yaml").read_text()


def test_the_ports_are_one() -> None:
    """PORT, the container's, the service's, and what Prometheus is told."""
    port = int(environment()["PORT"])
    assert port == ServerConfig().port
    (opened,) = BRIDGE["ports"]
    assert opened["containerPort"] == port
    (offered,) = the("Service")["spec"]["ports"]
    assert offered["port"] == port
    assert offered["targetPort"] == opened["name"]
    annotations = the("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port)
    probes = [BRIDGE[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} == {opened["name"]}


def test_the_pages_that_are_asked_exist() -> None:
    """The probes', and the one of the metrics."""
    config = config_of({"OPENAI_API_KEY": "sk-of-a-test"})
    pages = {rule.rule for rule in create_app(config).url_map.iter_rules()}
    asked = {kind: BRIDGE[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness")}
    assert asked == {"readiness": "/readyz", "liveness": "/healthz"}
    assert set(asked.values()) <= pages
    annotations = the("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] in pages


def test_the_objects_find_each_other() -> None:
    """Labels, names, and what is mounted where."""
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert the("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert the("Service")["spec"]["selector"] == labels
    assert the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    (spread,) = POD["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    target = the("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert the(target["kind"], target["name"])["apiVersion"] == target["apiVersion"]

    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    places = {mount["mountPath"]: volumes[mount["name"]] for mount in BRIDGE["volumeMounts"]}
    assert places[KEY_FOLDER]["secret"]["secretName"] == "avr-bridge"
    assert the("ConfigMap", places[ToolsConfig().directory]["configMap"]["name"])["data"]


def test_the_autoscalers_metric_is_one_of_ours() -> None:
    """By the name that the bridge gives it, and the rule for Prometheus' adapter shows."""
    (metric,) = the("HorizontalPodAutoscaler")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    (family,) = [each for each in Metrics().registry.collect() if each.name == name]
    assert family.type == "gauge"
    assert f"seriesQuery: '{name}{{" in (CHECKOUT / "docs" / "scaling.md").read_text()


def test_there_is_always_one_more_than_may_be_taken() -> None:
    """The budget leaves one, and the autoscaler aims below what a pod refuses calls at."""
    scaled = the("HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in the("Deployment")["spec"]
    assert scaled["minReplicas"] > the("PodDisruptionBudget")["spec"]["maxUnavailable"]
    (metric,) = scaled["metrics"]
    wanted = int(metric["pods"]["target"]["averageValue"])
    assert wanted < int(environment()["AVR_MAX_CALLS"])


def test_it_has_no_rights() -> None:
    """The image's user, a root that is read-only, nothing of the cluster, no way to more."""
    text = (CHECKOUT / "Containerfile").read_text()
    found = re.search(r"^USER (\d+):(\d+)$", text, re.M)
    assert found
    assert (POD["securityContext"]["runAsUser"], POD["securityContext"]["runAsGroup"]) == (
        int(found[1]),
        int(found[2]),
    )
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["automountServiceAccountToken"] is False
    assert BRIDGE["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount["readOnly"] for mount in BRIDGE["volumeMounts"])


def test_its_tools_can_be_loaded(tmp_path: Path) -> None:
    """As the kubelet mounts a ConfigMap: files are links into a folder whose name begins with `.`,
    which is itself a link."""
    real = tmp_path / "..2026_11_24_22_00_00.1"
    real.mkdir()
    (tmp_path / "..data").symlink_to(real.name)
    for name, text in the("ConfigMap", "avr-bridge-tools")["data"].items():
        (real / name).write_text(text)
        (tmp_path / name).symlink_to(f"..data/{name}")
    toolbox = load_tools(ToolsConfig(directory=str(tmp_path)))
    assert not toolbox.problems
    assert "opening_hours" in {tool.name for tool in toolbox.loaded}
