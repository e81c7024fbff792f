"""examples/compose: what the Compose Specification's own schema says of it, and that its parts
agree with each other, with the image and with our settings. `make container-test` starts it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from avr_bridge.config import ToolsConfig
from avr_bridge.tools.loading import load_tools
from tests.unit.shown_settings import config_of

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "examples" / "compose"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())[
    "services"
]
BRIDGE = SERVICES["avr-sts-openai"]
KILL_MARGIN_S = 2
"""What docs/deployment.md asks for between the drain's end and the kill."""
LIMIT_S = 60


def judged(path: Path) -> subprocess.CompletedProcess[str]:
    """What check-jsonschema says, with the schema that it carries."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema", "--no-cache"),
            *("--builtin-schema", "vendor.compose-spec", str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def environment(service: str) -> dict[str, str]:
    """A service's variables."""
    return dict(line.split("=", 1) for line in SERVICES[service].get("environment", []))


def env_file(*, with_comments: bool = False) -> dict[str, str]:
    """The variables of .env.example, those that are commented out too if asked."""
    lines = (FOLDER / ".env.example").read_text().splitlines()
    found = [re.fullmatch(r"(#?)([A-Z][A-Z0-9_]*)=(.*)", line) for line in lines]
    return {each[2]: each[3] for each in found if each and (with_comments or not each[1])}


def mounts(service: str) -> dict[str, str]:
    """Paths of this machine by their place in the container."""
    pairs = [line.split(":") for line in SERVICES[service].get("volumes", [])]
    assert all(mode == "ro" for _, _, mode in pairs)
    return {target: source for source, target, _ in pairs}


def seconds(duration: str) -> int:
    """Of the Specification's form, such as 2m10s."""
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found
    return int(found[1] or 0) * 60 + int(found[2] or 0)


def test_the_specifications_schema_accepts_it() -> None:
    said = judged(FOLDER / "compose.yaml")
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("stop_grace_period: 2m10s", "stop_grace: 2m10s"),
        ("condition: service_healthy", "condition: service_well"),
        ("dockerfile: Containerfile", "dockerfile: [Containerfile]"),
    ],
)
def test_the_schema_would_find_a_fault(tmp_path: Path, right: str, wrong: str) -> None:
    """The judge is one: each of these is refused."""
    text = (FOLDER / "compose.yaml").read_text()
    assert right in text
    (tmp_path / "compose.yaml").write_text(text.replace(right, wrong))
    assert judged(tmp_path / "compose.yaml").returncode == 1


def test_every_variable_is_a_setting_and_its_value_can_be() -> None:
    """Those of the file, of .env.example, and of its commented lines."""
    shown = {**env_file(with_comments=True), **environment("avr-sts-openai")}
    assert shown["OPENAI_API_KEY"] == ""
    config = config_of({**shown, "OPENAI_API_KEY": "sk-of-a-test"})
    assert seconds(BRIDGE["stop_grace_period"]) >= config.server.drain_s + KILL_MARGIN_S
    assert BRIDGE["env_file"] == ".env"
    assert ".env" in (CHECKOUT / ".gitignore").read_text().splitlines()
    assert not set(env_file(with_comments=True)) & set(environment("avr-sts-openai"))


def test_the_services_find_each_other() -> None:
    """Addresses, ports and names, on both ends of each."""
    ports = {name: environment(name).get("PORT") for name in SERVICES}
    core, ami = environment("avr-core"), environment("avr-ami")
    assert core["STS_URL"] == f"ws://avr-sts-openai:{ports['avr-sts-openai']}"
    assert environment("avr-sts-openai")["AMI_URL"] == f"http://avr-ami:{ports['avr-ami']}"
    assert SERVICES["avr-core"]["depends_on"] == {
        "avr-sts-openai": {"condition": "service_healthy"}
    }
    assert {tuple(service["networks"]) for service in SERVICES.values()} == {("avr",)}

    extensions = (FOLDER / "asterisk" / "extensions.conf").read_text()
    assert f"AudioSocket/avr-core:{ports['avr-core']}/" in extensions
    assert f"http://avr-core:{core['HTTP_PORT']}/call" in extensions
    manager = (FOLDER / "asterisk" / "manager.conf").read_text()
    assert f"[{ami['AMI_USERNAME']}]\nsecret={ami['AMI_PASSWORD']}\n" in manager
    assert ami["AMI_HOST"] in SERVICES


def test_only_this_machine_reaches_the_ports() -> None:
    """Neither the bridge nor avr-ami ask who calls, and the telephones' passwords are known."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"avr-asterisk"}
    assert all(port.startswith("127.0.0.1:") for port in published["avr-asterisk"])


def test_what_is_mounted_and_built_exists() -> None:
    """Each file, the tools' directory in its place, and the Containerfile with its context."""
    for service in SERVICES:
        for source in mounts(service).values():
            assert (FOLDER / source).exists(), source
    assert mounts("avr-sts-openai")[ToolsConfig().directory] == "./tools"
    build = BRIDGE["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == CHECKOUT
    assert (context / build["dockerfile"]).exists()


def test_the_readmes_diff_ends_in_the_same_service() -> None:
    """What it adds is this image, built by that command; what it keeps is in the example too."""
    readme = (CHECKOUT / "README.md").read_text()
    (diff,) = re.findall(r"^```diff\n(.*?)^```", readme, re.M | re.S)
    (added,) = re.findall(r"^\+\s*(.*)$", diff, re.M)
    line, _, command = added.partition("#")
    assert line.split() == ["image:", BRIDGE["image"]]
    assert command.split() == ["docker", "build", "-t", "avr-bridge", "-f", "Containerfile", "."]
    after = yaml.safe_load(
        re.sub(r"^[ +]", "", re.sub(r"^-.*\n", "", diff, flags=re.M), flags=re.M)
    )
    ((name, service),) = after.items()
    assert SERVICES[name]["image"] == service["image"]
    variables = dict(line.split("=", 1) for line in service["environment"])
    assert set(variables) <= set(environment(name)) | set(env_file())


def test_its_health_is_asked_as_the_image_says() -> None:
    """One check, in two places: builders of OCI images drop HEALTHCHECK."""
    text = (CHECKOUT / "Containerfile").read_text()
    found = re.search(r"^HEALTHCHECK (.*) CMD \[(.*)\]$", text, re.M)
    assert found
    options = dict(re.findall(r"--(\S+)=(\S+)", found[1]))
    shown = {name.replace("_", "-"): str(value) for name, value in BRIDGE["healthcheck"].items()}
    del shown["test"]
    assert shown == options
    assert BRIDGE["healthcheck"]["test"] == ["CMD", *re.findall(r'"([^"]+)"', found[2])]


def test_its_tools_can_be_loaded() -> None:
    toolbox = load_tools(ToolsConfig(directory=str(FOLDER / "tools")))
    assert not toolbox.problems
    assert "opening_hours" in {tool.name for tool in toolbox.loaded}
