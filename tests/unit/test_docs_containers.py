"""The commands for container engines and clusters in the documents, word by word.

They are not run here: each is read as the engine would, and the files, images, containers,
services, ports, settings and objects that it names have to exist, and be called so. What building
and running do is tried by `make container-test`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import yaml

from avr_bridge.cli import COMMANDS
from tests.unit.shown_settings import KNOWN
from tests.unit.test_kubernetes_example import the

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md")])
COMMENTED = sorted([CHECKOUT / "Containerfile", *CHECKOUT.glob("examples/*/*.y*ml")])
CONTAINERFILE = (CHECKOUT / "Containerfile").read_text()
COMPOSE_FOLDER = CHECKOUT / "examples" / "compose"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE_FOLDER / "compose.yaml").read_text())["services"]
IMAGE = "avr-bridge"
PLATFORMS = ("linux/amd64", "linux/arm64")
LEFT_OUT = "..."
"""Stands for a value of the reader's, or the rest of a command."""

COMMAND = re.compile(r"(?:docker|kubectl) .*")
TAKES_VALUE = frozenset(
    ("-t", "-f", "-p", "-e", "--platform", "--build-arg", "--cap-drop", "--from-file")
)


@attrs.frozen
class Command:
    """One command of a document: its words before options, and its options."""

    place: str
    words: list[str]
    options: list[tuple[str, str]]

    @classmethod
    def of(cls, place: str, line: str) -> Command:
        """Read a line as the engine would."""
        words: list[str] = []
        options: list[tuple[str, str]] = []
        rest = shlex.split(line)
        while rest:
            word = rest.pop(0)
            if word == LEFT_OUT and not rest:
                break
            if not word.startswith("-") or words[:2] == ["docker", "exec"]:
                words.append(word)
            elif word.startswith("--") and "=" in word:
                name, _, value = word.partition("=")
                options.append((name, value))
            else:
                options.append((word, rest.pop(0) if word in TAKES_VALUE else ""))
        return cls(place, words, options)

    def values(self, name: str) -> list[str]:
        """What an option was given, as often as it was."""
        return [value for option, value in self.options if option == name]


def shown() -> Iterator[tuple[str, str]]:
    """Where a command stands, and the command: of blocks, of code within a line, of comments."""
    for path in PAGES:
        text = path.read_text()
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        lines += [one.partition("# ")[2] for block in blocks for one in block.splitlines()]
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
        for line in [*lines, *spans]:
            if COMMAND.fullmatch(line):
                yield path.name, line
    for path in COMMENTED:
        for line in re.findall(r"^#[ ]+(.*)$", path.read_text(), re.M):
            command = line.rpartition(": ")[2] if ": kubectl" in line else line
            if COMMAND.fullmatch(command):
                yield path.name, command


SHOWN = list(shown())
COMMANDS_SHOWN = [Command.of(place, line) for place, line in SHOWN]


def build(command: Command) -> None:
    """An image of this checkout, by a file that is there, with arguments that it takes."""
    assert set(command.values("-t")) <= {IMAGE}
    for file in command.values("-f"):
        assert (CHECKOUT / file).is_file()
    assert set(command.values("--platform")) <= set(PLATFORMS)
    arguments = set(re.findall(r"^ARG (\w+)", CONTAINERFILE, re.M))
    assert {one.partition("=")[0] for one in command.values("--build-arg")} <= arguments
    for context in command.words[2:]:
        assert (CHECKOUT / context).resolve() == CHECKOUT


def run(command: Command) -> None:
    """The image that the documents build; its port; settings that there are."""
    (image,) = command.words[2:]
    assert image in {tag for one in COMMANDS_SHOWN for tag in one.values("-t")}
    exposed = re.findall(r"^EXPOSE (\d+)", CONTAINERFILE, re.M)
    assert [one.rpartition(":")[2] for one in command.values("-p")] == exposed
    variables = {one.partition("=")[0] for one in command.values("-e")}
    assert variables <= KNOWN
    assert "OPENAI_API_KEY" in variables


def in_container(command: Command) -> None:
    """A container of the example, by the name that it has on the machine."""
    name, program, *words = command.words[2:]
    containers = {one.get("container_name"): one for one in SERVICES.values()}
    assert containers[name]["image"] == IMAGE
    assert program == "avr-bridge"
    assert words[0] in COMMANDS


def compose(command: Command) -> None:
    """In the folder of the example, which says what to build."""
    assert command.place == "compose.yaml"
    assert command.words[2:] == ["up"]
    assert {name for name, _ in command.options} <= {"-d", "--build"}
    assert [name for name, one in SERVICES.items() if "build" in one] == ["avr-sts-openai"]


def create(command: Command) -> None:
    """The secret that the deployment mounts, with the file that the setting names."""
    kind, sort, name = command.words[2:]
    assert (kind, sort) == ("secret", "generic")
    pod = the("Deployment")["spec"]["template"]["spec"]
    assert name in [one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one]
    (container,) = pod["containers"]
    files = {one["value"] for one in container["env"] if one["name"].endswith("_FILE")}
    keys = {one.partition("=")[0] for one in command.values("--from-file")}
    assert keys == {Path(file).name for file in files}


def apply(command: Command) -> None:
    """A folder of objects."""
    (folder,) = command.values("-f")
    objects = [
        one
        for file in (CHECKOUT / folder).glob("*.yaml")
        for one in yaml.safe_load_all(file.read_text())
    ]
    assert len(objects) > 3
    assert all(one["kind"] for one in objects)


def rollout(command: Command) -> None:
    """Of an object that there is."""
    verb, target = command.words[2:]
    kind, _, name = target.partition("/")
    assert verb == "restart"
    assert the(kind.title(), name)


def about(command: Command) -> None:
    """Named, and nothing of ours in it."""
    assert command.words[2:] == []


READ: dict[tuple[str, str], Callable[[Command], None]] = {
    ("docker", "build"): build,
    ("docker", "run"): run,
    ("docker", "exec"): in_container,
    ("docker", "compose"): compose,
    ("docker", "stop"): about,
    ("docker", "inspect"): about,
    ("kubectl", "create"): create,
    ("kubectl", "apply"): apply,
    ("kubectl", "rollout"): rollout,
}


@pytest.mark.parametrize("command", COMMANDS_SHOWN, ids=[f"{a}: {b}" for a, b in SHOWN])
def test_what_a_command_names_exists(command: Command) -> None:
    """One that is not known here has to be made known, with what it names."""
    program, verb = command.words[:2]
    READ[program, verb](command)


def test_the_commands_are_found() -> None:
    """Each kind at least once: in blocks, within lines, in comments."""
    assert {(one.words[0], one.words[1]) for one in COMMANDS_SHOWN} == set(READ)
    places = {one.place for one in COMMANDS_SHOWN}
    assert {"deployment.md", "scaling.md", "checking.md", "README.md", "compose.yaml"} <= places
    assert {"config.yaml", "Containerfile"} <= places


@pytest.mark.parametrize(
    "wrong",
    [
        "docker build -t avr-bridge -f Dockerfile .",
        "docker build --build-arg PIP_URL=... .",
        "docker run --rm -p 6030:6031 -e OPENAI_API_KEY=... avr-bridge",
        "docker run --rm -p 6030:6030 -e OPENAI_API_KEY=... -e OPENAI_MODELL=x avr-bridge",
        "docker run --rm -p 6030:6030 -e OPENAI_API_KEY=... avr-bridgd",
        "docker exec avr-sts-openai-1 avr-bridge check",
        "docker exec avr-core avr-bridge check",
        "docker exec avr-sts-openai avr-bridge checks",
        "kubectl create secret generic avr-bridge --from-file=OPENAI_KEY=./key.txt",
        "kubectl create secret generic bridge --from-file=OPENAI_API_KEY=./key.txt",
        "kubectl apply -f examples/compose",
        "kubectl rollout restart deployment/bridge",
        "docker restart avr-bridge",
    ],
)
def test_a_wrong_word_would_be_found(wrong: str) -> None:
    """Each name in turn."""
    command = Command.of("a page", wrong)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        READ[command.words[0], command.words[1]](command)


def test_the_examples_environment_is_where_its_command_takes_it_from() -> None:
    """`cp .env.example .env`, in the comment of the Compose file."""
    (source, target) = re.findall(r"cp (\S+) (\S+)", (COMPOSE_FOLDER / "compose.yaml").read_text())[
        0
    ]
    assert (COMPOSE_FOLDER / source).is_file()
    assert SERVICES["avr-sts-openai"]["env_file"] == target


def test_containers_have_the_names_of_avr_infra() -> None:
    """The name of each is its service's: so `docker exec` finds them whatever the folder is called,
    and no second stack is started beside by mistake."""
    assert {one.get("container_name") for one in SERVICES.values()} == set(SERVICES)
