"""The sections of the settings: what each layer is told, with every variable's name and default.

Declarations only; `config.py` reads the environment into them, `settings.py` parses values.
"""

from __future__ import annotations

from typing import Any, dataclass_transform

import environ

from avr_bridge.settings import (
    Secret,
    Setting,
    choice,
    number,
    switch,
    text,
    url,
    whole_number,
)

__all__ = [
    "DEFAULT_MODEL",
    "AudioConfig",
    "LogConfig",
    "ModelConfig",
    "ServerConfig",
    "TalkConfig",
    "ToolsConfig",
]

DEFAULT_MODEL = "gpt-realtime-2"


def setting(env: str, *, default: Any, parse: Any, expected: str, help: str) -> Any:
    """Declare one setting of a section: its variable, its default and what it may be."""
    return environ.var(
        default=default, name=env, help=help, converter=Setting(env, parse, expected, default, help)
    )


@dataclass_transform(frozen_default=True, field_specifiers=(setting,))
def section[T](cls: type[T]) -> type[T]:
    """Make a class a frozen section that `BridgeConfig.from_env` fills from the environment."""
    made: type[T] = environ.config(prefix="", frozen=True)(cls)
    return made


@section
class ServerConfig:
    """Where the bridge listens, and what its callers may do."""

    host: str = setting(
        "AVR_HOST",
        default="0.0.0.0",
        parse=text,
        expected="an address to listen on",
        help="Address to listen on. The default is every IPv4 address, as avr-core needs it.",
    )
    port: int = setting(
        "PORT",
        default=6030,
        parse=whole_number(0, 65535),
        expected="a port number, 0 to 65535 (0: any free one)",
        help="Port of both transports, WebSocket and HTTP.",
    )
    no_audio_s: float = setting(
        "AVR_NO_AUDIO_S",
        default=60.0,
        parse=number(0.0, 3600.0),
        expected="seconds, 0 (never) to 3600",
        help="A call ends after so long without sound from avr-core, which sends silence too.",
    )
    max_calls: int = setting(
        "AVR_MAX_CALLS",
        default=0,
        parse=whole_number(0, 100_000),
        expected="a whole number, 0 (no limit) to 100000",
        help="Most calls at a time; a further one is refused with 1013, over HTTP with 503.",
    )
    max_lag_ms: int = setting(
        "AVR_MAX_LAG_MS",
        default=150,
        parse=whole_number(0, 10_000),
        expected="milliseconds, 0 (never) to 10000",
        help="Lag of the event loop from which new calls are refused, so that running ones "
        "stay good.",
    )


@section
class ModelConfig:
    """The Realtime session that each call gets."""

    api_key: Secret | None = setting(
        "OPENAI_API_KEY",
        default=None,
        parse=Secret.parse,
        expected="the key of the Realtime API",
        help="Bearer key. Needed unless OPENAI_ENDPOINT names a server that asks for none.",
    )
    model: str = setting(
        "OPENAI_MODEL",
        default=DEFAULT_MODEL,
        parse=text,
        expected="a Realtime model's name",
        help="Model. A name that OpenAI has retired is replaced by the default, with a warning.",
    )
    endpoint: str | None = setting(
        "OPENAI_ENDPOINT",
        default=None,
        parse=url("ws", "wss", "http", "https"),
        expected="an address such as wss://host/v1 or ws://127.0.0.1:8080/v1",
        help="Another Realtime server: a base address, or a full one with its own path.",
    )
    dialect: str = setting(
        "OPENAI_DIALECT",
        default="auto",
        parse=choice("auto", "ga", "beta", "xai"),
        expected="auto, ga, beta or xai",
        help="Protocol of the server: OpenAI and Azure GA, beta-shaped (Azure preview), or xAI.",
    )
    voice: str = setting(
        "OPENAI_VOICE", default="alloy", parse=text, expected="a voice's name", help="Voice."
    )
    language: str | None = setting(
        "OPENAI_LANGUAGE",
        default=None,
        parse=text,
        expected="a language code such as en",
        help="Language of the caller's transcript. Unset: detected.",
    )
    instructions: str | None = setting(
        "OPENAI_INSTRUCTIONS",
        default=None,
        parse=text,
        expected="text",
        help="System prompt. Wins over the two settings below.",
    )
    instructions_url: str | None = setting(
        "OPENAI_URL_INSTRUCTIONS",
        default=None,
        parse=url("http", "https"),
        expected="an http or https address",
        help='Address that answers {"system": "..."} for each call; asked with X-AVR-UUID.',
    )
    instructions_file: str | None = setting(
        "OPENAI_FILE_INSTRUCTIONS",
        default=None,
        parse=text,
        expected="a file's path",
        help="File with the system prompt, read anew for each call.",
    )
    temperature: float | None = setting(
        "OPENAI_TEMPERATURE",
        default=None,
        parse=number(0.0, 2.0),
        expected="a number from 0 to 2",
        help="Accepted and ignored with a warning: the Realtime API no longer takes it.",
    )
    max_tokens: int | None = setting(
        "OPENAI_MAX_TOKENS",
        default=None,
        parse=whole_number(1, 32_000, infinite=("inf", "unlimited")),
        expected="a whole number from 1 to 32000, or inf",
        help="Longest answer in tokens, audio included; binds every answer. Unset: no limit.",
    )
    reasoning_effort: str = setting(
        "OPENAI_REASONING_EFFORT",
        default="low",
        parse=choice("minimal", "low", "medium", "high", "xhigh"),
        expected="minimal, low, medium, high or xhigh",
        help="Only sent to models that reason (gpt-realtime-2 and newer).",
    )
    transcription_model: str = setting(
        "OPENAI_TRANSCRIPTION_MODEL",
        default="whisper-1",
        parse=text,
        expected="a transcription model's name",
        help="Model that transcribes the caller.",
    )
    turn_detection: str = setting(
        "OPENAI_TURN_DETECTION",
        default="server_vad",
        parse=choice("server_vad", "semantic_vad"),
        expected="server_vad or semantic_vad",
        help="How the end of the caller's turn is found.",
    )
    eagerness: str | None = setting(
        "OPENAI_TURN_DETECTION_EAGERNESS",
        default=None,
        parse=choice("low", "medium", "high", "auto"),
        expected="low, medium, high or auto",
        help="How soon semantic_vad ends a turn.",
    )
    vad_threshold: float = setting(
        "OPENAI_TURN_DETECTION_THRESHOLD",
        default=0.5,
        parse=number(0.0, 1.0),
        expected="a number from 0 to 1",
        help="How loud speech must be for server_vad; higher on noisy lines.",
    )
    vad_silence_ms: int = setting(
        "OPENAI_TURN_DETECTION_SILENCE_MS",
        default=500,
        parse=whole_number(50, 10_000),
        expected="milliseconds, 50 to 10000",
        help="Pause that ends the caller's turn with server_vad.",
    )
    vad_prefix_padding_ms: int = setting(
        "OPENAI_TURN_DETECTION_PREFIX_PADDING_MS",
        default=300,
        parse=whole_number(0, 5_000),
        expected="milliseconds, 0 to 5000",
        help="Sound kept from before the speech that server_vad noticed.",
    )
    vad_idle_timeout_ms: int | None = setting(
        "OPENAI_TURN_DETECTION_IDLE_TIMEOUT_MS",
        default=None,
        parse=whole_number(5_000, 30_000),
        expected="milliseconds, 5000 to 30000",
        help="The model itself asks whether the caller is there after so much silence.",
    )
    interruptible: bool = setting(
        "OPENAI_INTERRUPT_RESPONSE",
        default=True,
        parse=switch,
        expected="on or off",
        help="Whether the caller's speech interrupts an answer.",
    )
    noise_reduction: str = setting(
        "OPENAI_NOISE_REDUCTION",
        default="off",
        parse=choice("off", "near_field", "far_field"),
        expected="off, near_field or far_field",
        help="The model's filter against noise: near_field for handsets, far_field for rooms.",
    )
    speed: float = setting(
        "OPENAI_SPEED",
        default=1.0,
        parse=number(0.25, 1.5),
        expected="a number from 0.25 to 1.5",
        help="How fast the model speaks.",
    )
    audio_format: str = setting(
        "OPENAI_AUDIO_FORMAT",
        default="pcmu",
        parse=choice("pcmu", "pcma", "pcm"),
        expected="pcmu, pcma or pcm",
        help="Audio between bridge and model: G.711 µ-law, A-law, or 24 kHz PCM.",
    )


@section
class TalkConfig:
    """How a call is conducted."""

    welcome_message: str | None = setting(
        "OPENAI_WELCOME_MESSAGE",
        default=None,
        parse=text,
        expected="text",
        help="Words that the model says first; the caller cannot interrupt them.",
    )
    greeting_file: str | None = setting(
        "AVR_GREETING_FILE",
        default=None,
        parse=text,
        expected="a WAV file's path",
        help="Recording that is played first, while the model is being connected.",
    )
    dtmf_timeout_ms: int = setting(
        "AVR_DTMF_TIMEOUT_MS",
        default=1500,
        parse=whole_number(100, 30_000),
        expected="milliseconds, 100 to 30000",
        help="Pause after which the keys pressed so far become one turn.",
    )
    dtmf_terminator: str = setting(
        "AVR_DTMF_TERMINATOR",
        default="#",
        parse=choice("#", "*", "none"),
        expected="#, * or none",
        help="Key that ends an entry at once.",
    )
    dtmf_most_digits: int = setting(
        "AVR_DTMF_MAX_DIGITS",
        default=32,
        parse=whole_number(1, 128),
        expected="a whole number from 1 to 128",
        help="Longest entry on the keypad.",
    )
    dtmf_interrupts: bool = setting(
        "AVR_DTMF_INTERRUPTS",
        default=False,
        parse=switch,
        expected="on or off",
        help="Whether a key stops the answer that is being spoken.",
    )
    tool_sound: str = setting(
        "AVR_TOOL_SOUND",
        default="off",
        parse=text,
        expected="off, typing, or a WAV file's path",
        help="Sound while a tool runs; it stops at the model's first word.",
    )
    idle_s: float = setting(
        "AVR_IDLE_S",
        default=0.0,
        parse=number(0.0, 3600.0),
        expected="seconds, 0 (never) to 3600",
        help="Silence after which the caller is asked once, and after as much again hung up on.",
    )
    max_call_s: float = setting(
        "AVR_MAX_CALL_S",
        default=0.0,
        parse=number(0.0, 86_400.0),
        expected="seconds, 0 (no limit) to 86400",
        help="Longest call; then the model says goodbye and the call is hung up.",
    )
    control_max_wait_s: float = setting(
        "AVR_CALL_CONTROL_MAX_WAIT_S",
        default=10.0,
        parse=number(0.0, 120.0),
        expected="seconds, 0 to 120",
        help="Longest wait for the goodbye to be heard before a hangup or transfer is done.",
    )


@section
class AudioConfig:
    """How sound is converted."""

    resampler: str = setting(
        "AVR_RESAMPLER",
        default="fir",
        parse=choice("fir", "audioop"),
        expected="fir or audioop",
        help="Filter between 8 and 24 kHz, used with OPENAI_AUDIO_FORMAT=pcm.",
    )


@section
class ToolsConfig:
    """Call control beside the audio."""

    ami_url: str = setting(
        "AMI_URL",
        default="http://127.0.0.1:6006",
        parse=url("http", "https"),
        expected="an http or https address",
        help="avr-ami, which hangs up and transfers calls. Also AVR_AMI_ENDPOINT, for avr-app.",
    )
    directory: str = setting(
        "AVR_TOOLS_DIR",
        default="/usr/src/app/tools",
        parse=text,
        expected="a directory's path",
        help="Directory with tools: Python files, and TOML or JSON files for HTTP and MCP tools.",
    )
    timeout_s: float = setting(
        "AVR_TOOL_TIMEOUT_S",
        default=15.0,
        parse=number(0.1, 600.0),
        expected="seconds, 0.1 to 600",
        help="Longest time for one tool; then the model is told that it took too long.",
    )


@section
class LogConfig:
    """What is written about the work."""

    level: str = setting(
        "AVR_LOG_LEVEL",
        default="info",
        parse=choice("debug", "info", "warning", "error"),
        expected="debug, info, warning or error",
        help="Least severity that is logged.",
    )
    format: str = setting(
        "AVR_LOG_FORMAT",
        default="auto",
        parse=choice("auto", "json", "text"),
        expected="auto, json or text",
        help="auto: text on a terminal, else one JSON object a line.",
    )
