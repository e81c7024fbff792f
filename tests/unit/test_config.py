"""Settings: the Node container's environment, all faults at once, secrets unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from avr_bridge import BridgeConfig, ConfigError, ModelConfig, Secret, ServerConfig
from avr_bridge.sections import DEFAULT_MODEL

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-planted-secret"
WIKI_PAGE_OF_SEPTEMBER_2025 = {
    "PORT": "6030",
    "OPENAI_API_KEY": KEY,
    "OPENAI_MODEL": "gpt-4o-realtime-preview",
    "OPENAI_INSTRUCTIONS": '"You are a helpful assistant."',
    "OPENAI_TEMPERATURE": "0.8",
    "OPENAI_MAX_TOKENS": "100",
}


def from_env(**variables: str) -> BridgeConfig:
    return BridgeConfig.from_env({"OPENAI_API_KEY": KEY} | variables)


def faults_of(**variables: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_env(**variables)
    return caught.value.faults


def test_defaults_are_those_of_the_node_container() -> None:
    """A key alone is enough; every default is avr-sts-openai's, but for the audio format."""
    config = from_env()
    assert config.server.port == 6030
    assert config.model.model == "gpt-realtime-2"
    assert config.model.voice == "alloy"
    assert config.model.reasoning_effort == "low"
    assert config.model.transcription_model == "whisper-1"
    assert config.model.turn_detection == "server_vad"
    assert config.model.max_tokens is None
    assert config.model.audio_format == "pcmu"
    assert config.tools.ami_url == "http://127.0.0.1:6006"
    assert config.audio.resampler == "fir"
    assert config.warnings == ()


def test_the_wiki_pages_environment_works_unchanged() -> None:
    """Quotes are taken off, the retired model is replaced, temperature is ignored; both told."""
    config = BridgeConfig.from_env(WIKI_PAGE_OF_SEPTEMBER_2025)
    assert config.model.instructions == "You are a helpful assistant."
    assert config.model.model == DEFAULT_MODEL
    assert config.model.max_tokens == 100
    retired, temperature = config.warnings
    assert "gpt-4o-realtime-preview" in retired
    assert DEFAULT_MODEL in retired
    assert "OPENAI_TEMPERATURE" in temperature


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"quoted"', "quoted"),
        ("'quoted'", "quoted"),
        ('""twice""', '"twice"'),
        ("\"mixed'", "\"mixed'"),
        ('  " inner blanks stay " ', " inner blanks stay "),
    ],
)
def test_one_pair_of_quotes_is_taken_off(value: str, expected: str) -> None:
    """Compose files in list form make the quotes part of the value; only one pair is theirs."""
    assert from_env(OPENAI_INSTRUCTIONS=value).model.instructions == expected


def test_an_empty_value_counts_as_unset() -> None:
    """`- OPENAI_LANGUAGE=` in a Compose file means the default, as in the Node container."""
    config = from_env(OPENAI_LANGUAGE="", PORT='""', OPENAI_VOICE=" ")
    assert config.model.language is None
    assert config.server.port == 6030
    assert config.model.voice == "alloy"


def test_all_faults_are_told_in_one_error() -> None:
    """Each line names the variable, shows what was found and what was expected."""
    faults = faults_of(
        PORT="70000",
        OPENAI_MAX_TOKENS="many",
        OPENAI_ENDPOINT="ftp://host/v1",
        OPENAI_AUDIO_FORMAT="opus",
        OPENAI_TEMPERATURE="hot",
    )
    assert sorted(fault.split("=")[0] for fault in faults) == [
        "OPENAI_AUDIO_FORMAT",
        "OPENAI_ENDPOINT",
        "OPENAI_MAX_TOKENS",
        "OPENAI_TEMPERATURE",
        "PORT",
    ]
    assert any("opus" in fault and "expected pcmu, pcma or pcm" in fault for fault in faults)


def test_records_sent_in_the_clear_are_warned_of() -> None:
    """To another machine; not to this one, and not over TLS."""
    (warned,) = from_env(AVR_CALL_WEBHOOK="http://crm.example/calls").warnings
    assert warned.startswith("AVR_CALL_WEBHOOK is not encrypted")
    for address in ("http://127.0.0.1:8091/calls", "https://crm.example/calls"):
        assert from_env(AVR_CALL_WEBHOOK=address).warnings == ()


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("PORT", "-1"),
        ("PORT", "6030.5"),
        ("OPENAI_MAX_TOKENS", "0"),
        ("OPENAI_MAX_TOKENS", "40000"),
        ("OPENAI_REASONING_EFFORT", "huge"),
        ("OPENAI_TURN_DETECTION", "none"),
        ("OPENAI_TURN_DETECTION_EAGERNESS", "very"),
        ("OPENAI_URL_INSTRUCTIONS", "not an address"),
        ("OPENAI_ENDPOINT", "ws://host:notaport/v1"),
        ("OPENAI_ENDPOINT", "ws:///v1"),
        ("OPENAI_ENDPOINT", "ws://host/v 1"),
        ("OPENAI_ENDPOINT", "ws://h\u00f6st/v1"),
        ("OPENAI_API_KEY", "sk-a b"),
        ("OPENAI_API_KEY", "sk-a\nb"),
        ("OPENAI_MAX_TOKENS", "32001"),
        ("OPENAI_TEMPERATURE", "nan"),
        ("AMI_URL", "127.0.0.1:6006"),
        ("AVR_RESAMPLER", "linear"),
        ("AVR_LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, bad: str) -> None:
    """Nothing is guessed: one line, which names the variable."""
    (fault,) = faults_of(**{name: bad})
    assert fault.startswith(f"{name}=")


@pytest.mark.parametrize("word", ["inf", "INF", "unlimited"])
def test_max_tokens_may_be_without_limit(word: str) -> None:
    """The Node container's default is the word inf."""
    assert from_env(OPENAI_MAX_TOKENS=word).model.max_tokens is None


def test_a_key_is_needed_unless_another_server_is_named() -> None:
    """OpenAI needs a key; a local server may ask for none."""
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        BridgeConfig.from_env({})
    config = BridgeConfig.from_env({"OPENAI_ENDPOINT": "ws://127.0.0.1:8080/v1"})
    assert config.model.api_key is None


def test_no_text_of_the_config_shows_the_key() -> None:
    """repr, str and the errors of other settings never hold it; reveal does."""
    config = from_env()
    assert KEY not in repr(config)
    assert KEY not in str(config.model.api_key)
    assert KEY not in " ".join(faults_of(PORT="x"))
    assert config.model.api_key is not None
    assert config.model.api_key.reveal() == KEY


def test_sections_built_in_code_are_checked_alike() -> None:
    """A program that builds its config gets the same errors, at once."""
    assert ModelConfig(api_key=Secret(KEY), max_tokens=7).max_tokens == 7
    with pytest.raises(ConfigError, match="OPENAI_AUDIO_FORMAT"):
        ModelConfig(audio_format="opus")
    with pytest.raises(ConfigError, match="PORT"):
        ServerConfig(port=-1)


def test_sections_are_frozen() -> None:
    """A setting cannot change under a running call."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        from_env().model.voice = "ash"  # type: ignore[misc]


def test_a_long_value_is_cut_in_its_error() -> None:
    """A prompt pasted into the wrong variable does not fill the screen."""
    (fault,) = faults_of(OPENAI_TURN_DETECTION="x" * 5000)
    assert len(fault) < 250


def test_eagerness_without_semantic_vad_is_told() -> None:
    """It would be silently without effect."""
    (warning,) = from_env(OPENAI_TURN_DETECTION_EAGERNESS="high").warnings
    assert "semantic_vad" in warning


def test_a_key_with_blanks_around_it_is_trimmed_and_a_bad_one_is_not_shown() -> None:
    """Quotes and blanks come from Compose files; the error names the variable, not the key."""
    trimmed = from_env(OPENAI_API_KEY=f'" {KEY} "').model.api_key
    assert trimmed is not None
    assert trimmed.reveal() == KEY
    (fault,) = faults_of(OPENAI_API_KEY=f"{KEY} {KEY}")
    assert KEY not in fault


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("content", [f"{KEY}\n", f" {KEY}\r\n\n", f"\ufeff{KEY}"])
def test_a_key_may_come_from_a_file(tmp_path: Path, content: str) -> None:
    """Newlines, blanks and a byte order mark around it are not part of it."""
    path = written(tmp_path / "key", content.encode())
    config = BridgeConfig.from_env({"OPENAI_API_KEY_FILE": path, "AVR_TOKEN_FILE": path})
    assert config.model.api_key == Secret(KEY)
    assert config.server.token == Secret(KEY)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"sk-\xff", "the file is no text"),
        (b"sk-one\nsk-two\n", "expected the key of the Realtime API in the file"),
        (b"x" * 20_000, "the file is too long"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_is_told_with_the_other_faults(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    """One line each; that the key is missing is not told on top; its content is not shown."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        BridgeConfig.from_env({"OPENAI_API_KEY_FILE": str(path), "PORT": "x"})
    about_file, about_port = caught.value.faults
    assert about_file.startswith(f"OPENAI_API_KEY_FILE={path}: ")
    assert words in about_file
    assert about_port.startswith("PORT=x")
    assert "sk-" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_and_its_file_are_a_contradiction(tmp_path: Path) -> None:
    """Which one is meant cannot be known."""
    path = written(tmp_path / "key", b"another-key")
    (fault,) = faults_of(OPENAI_API_KEY_FILE=path)
    assert fault == "OPENAI_API_KEY and OPENAI_API_KEY_FILE are both set: expected one of them"


def test_a_key_in_place_of_its_files_path_is_not_shown() -> None:
    """The commonest mistake with such variables."""
    with pytest.raises(ConfigError) as caught:
        BridgeConfig.from_env({"OPENAI_API_KEY_FILE": "a-planted-key"})
    assert "a-planted-key" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "ftp://user:planted-pass@host/v1",
        "wss://user:planted/pass@host/v1",
        "user:planted-pass@host",
        "ftp://host/v1?api-key=planted-pass",
        f"ftp://{'h' * 70}.{KEY}/v1",
        KEY,
    ],
)
def test_a_refused_address_shows_no_password(endpoint: str) -> None:
    """Nor the key of another setting, not even where its end is cut off."""
    (fault,) = faults_of(OPENAI_ENDPOINT=endpoint)
    assert fault.startswith("OPENAI_ENDPOINT=")
    assert "planted" not in fault


def test_a_password_in_the_models_address_is_left_out_with_a_warning() -> None:
    """It was never sent; the key has its own setting."""
    config = from_env(OPENAI_ENDPOINT="wss://user:planted@host:9/v1?a=b")
    assert config.model.endpoint == "wss://host:9/v1?a=b"
    (warning,) = config.warnings
    assert "OPENAI_API_KEY" in warning
    assert "planted" not in warning


@pytest.mark.parametrize(
    ("endpoint", "warned"),
    [
        ("ws://model.internal:8080/v1", True),
        ("http://10.0.0.1/v1", True),
        ("wss://model.internal/v1", False),
        ("ws://127.0.0.1:8080/v1", False),
        ("ws://localhost/v1", False),
        ("http://[::1]:9/v1", False),
    ],
)
def test_an_unencrypted_way_to_another_machine_warns(endpoint: str, warned: bool) -> None:
    """The key and the sound of calls can be read on the way."""
    assert any("not encrypted" in line for line in from_env(OPENAI_ENDPOINT=endpoint).warnings) is (
        warned
    )


@pytest.mark.parametrize("name", ["AVR_TOKEN", "AVR_METRICS_TOKEN", "AVR_CALL_WEBHOOK_SECRET"])
def test_a_short_token_warns(name: str) -> None:
    """It is taken all the same."""
    (warning,) = from_env(**{name: "sesame"}).warnings
    assert f"{name} is short" in warning
    assert "sesame" not in warning
    assert from_env(**{name: "0123456789abcdef"}).warnings == ()


@pytest.mark.parametrize(
    "there", [{"OPENAI_ENDPOINT": "wss://api.x.ai/v1"}, {"OPENAI_DIALECT": "xai"}]
)
def test_a_limit_of_tokens_at_xai_warns(there: dict[str, str]) -> None:
    """It is no fault: a server in between may count them."""
    (warning,) = from_env(**there, AVR_MAX_TOKENS_PER_CALL="9000").warnings
    assert "AVR_MAX_TOKENS_PER_CALL" in warning
    assert "AVR_MAX_CALL_S" in warning
    assert from_env(**there, AVR_MAX_TOKENS_PER_CALL="0").warnings == ()
    assert from_env(AVR_MAX_TOKENS_PER_CALL="9000").warnings == ()


def test_audiosocket_is_off_unless_it_is_asked_for() -> None:
    """No port by default; a word for none; a codec that Asterisk has a name for."""
    assert from_env().server.audiosocket_port is None
    assert from_env(AVR_AUDIOSOCKET_PORT="off").server.audiosocket_port is None
    assert from_env(AVR_AUDIOSOCKET_PORT="6031").server.audiosocket_port == 6031
    assert from_env().server.audiosocket_codec == "auto"
    with pytest.raises(ConfigError) as refused:
        from_env(AVR_AUDIOSOCKET_PORT="70000", AVR_AUDIOSOCKET_CODEC="opus")
    assert len(refused.value.faults) == 2


def test_a_token_does_not_protect_audiosocket() -> None:
    """Whoever sets both is told."""
    token = "0123456789abcdef"
    assert from_env(AVR_TOKEN=token, AVR_AUDIOSOCKET_PORT="off").warnings == ()
    (warning,) = from_env(AVR_TOKEN=token, AVR_AUDIOSOCKET_PORT="6031").warnings
    assert "AVR_TOKEN does not protect AVR_AUDIOSOCKET_PORT" in warning


def test_proxy_variables_and_their_lower_case() -> None:
    """Lower case wins, as in curl."""
    config = from_env(HTTPS_PROXY="http://a:1", https_proxy="http://b:2", no_proxy="c")
    assert config.model.https_proxy == "http://b:2"
    assert config.model.no_proxy == "c"


def test_a_proxy_that_cannot_be_is_told_with_the_other_faults() -> None:
    """Only the one on the way to the model has to be an HTTP proxy."""
    about_port, about_proxy = faults_of(PORT="x", ALL_PROXY="socks5://u:planted@h:1")
    assert about_port.startswith("PORT=x")
    assert about_proxy == "ALL_PROXY: socks5:// proxies are not supported, only http://"
    assert from_env(HTTP_PROXY="socks5://h:1").model.http_proxy
    assert from_env(ALL_PROXY="socks5://h:1", NO_PROXY="api.openai.com").model.all_proxy


@pytest.mark.parametrize(
    "environ",
    [
        {"PORT": "7000", "AVR_AUDIOSOCKET_PORT": "7000"},
        {"AVR_AUDIOSOCKET_PORT": "6030"},
        {"PORT": "7000", "AVR_AUDIOSOCKET_PORT": "07000"},
    ],
)
def test_two_listeners_do_not_share_a_port(environ: dict[str, str]) -> None:
    """Told as what it is, and not as an address in use. Two free ports are two."""
    with pytest.raises(ConfigError, match="another one than PORT"):
        BridgeConfig.from_env({"OPENAI_API_KEY": "k", **environ})
    BridgeConfig.from_env({"OPENAI_API_KEY": "k", "PORT": "0", "AVR_AUDIOSOCKET_PORT": "0"})
    (fault,) = faults_of(PORT="off", AVR_AUDIOSOCKET_PORT="off")
    assert "another one than PORT" not in fault


def test_a_codec_without_its_port_is_pointed_out() -> None:
    """Nobody listens for AudioSocket: whoever sets the codec forgot the port."""
    for off in ({}, {"AVR_AUDIOSOCKET_PORT": "off"}):
        (warning,) = from_env(AVR_AUDIOSOCKET_CODEC="slin", **off).warnings
        assert warning == "AVR_AUDIOSOCKET_CODEC is ignored: it needs AVR_AUDIOSOCKET_PORT"
    assert from_env(AVR_AUDIOSOCKET_CODEC="slin", AVR_AUDIOSOCKET_PORT="0").warnings == ()


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://asterisk:5038/x",
        "tcp://asterisk:5038?timeout=3",
        "tcp://asterisk:5038?",
        "tls://asterisk#x",
        "tcp://avr:planted-secret@asterisk:5038",
    ],
)
def test_what_would_be_ignored_in_the_managers_address_is_refused(endpoint: str) -> None:
    """It has a host and a port; a user there would be no user. A blank path is none."""
    manager = {"AVR_MANAGER_USER": "avr", "AVR_MANAGER_PASSWORD": "another-secret"}
    (fault,) = faults_of(AVR_MANAGER_ENDPOINT=endpoint, **manager)
    assert fault.startswith("AVR_MANAGER_ENDPOINT=")
    assert "planted-secret" not in fault
    from_env(AVR_MANAGER_ENDPOINT="tcp://asterisk:5038/", **manager)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"AVR_MANAGER_ENDPOINT": "tcp://asterisk"}, ["PASSWORD", "USER"]),
        ({"AVR_MANAGER_USER": "avr"}, ["ENDPOINT", "PASSWORD"]),
        ({"AVR_MANAGER_PASSWORD": "planted-secret"}, ["ENDPOINT", "USER"]),
        ({"AVR_MANAGER_USER": "avr", "AVR_MANAGER_PASSWORD": "planted-secret"}, ["ENDPOINT"]),
    ],
)
def test_a_manager_that_is_set_in_part_is_refused(
    given: dict[str, str], missing: list[str]
) -> None:
    """It would start, and transfer nothing. The fault names what is missing, and no value."""
    faults = faults_of(**given)
    assert [fault.partition(" is not set: ")[0] for fault in faults] == [
        f"AVR_MANAGER_{name}" for name in missing
    ]
    assert all(next(iter(given)) in fault for fault in faults)
    assert "planted-secret" not in str(faults)


def test_asterisks_other_interface_is_pointed_out() -> None:
    """ARI cannot transfer these calls: whoever sets it would wait for transfers that never come."""
    (warning,) = from_env(AVR_ARI_ENDPOINT="http://planted@asterisk:8088/ari").warnings
    assert warning.startswith("AVR_ARI_ENDPOINT is ignored")
    assert "AVR_MANAGER_ENDPOINT" in warning
    assert "planted" not in warning
