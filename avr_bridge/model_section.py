"""The section of the settings that makes the model's session; the others are in `sections.py`."""

from __future__ import annotations

from urllib.parse import urlsplit

from avr_bridge.settings import (
    Secret,
    choice,
    number,
    section,
    setting,
    switch,
    text,
    url,
    whole_number,
)

__all__ = ["DEFAULT_ENDPOINT", "DEFAULT_MODEL", "XAI_HOST", "ModelConfig"]

DEFAULT_ENDPOINT = "wss://api.openai.com/v1"
DEFAULT_MODEL = "gpt-realtime-2"
XAI_HOST = "api.x.ai"


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
    https_proxy: str | None = setting(
        "HTTPS_PROXY",
        default=None,
        parse=text,
        expected="an http:// address",
        help="HTTP proxy to a model at `wss://`, as `http://user:password@host:port`. This and "
        "the next three also in lower case, which wins.",
    )
    http_proxy: str | None = setting(
        "HTTP_PROXY",
        default=None,
        parse=text,
        expected="an http:// address",
        help="HTTP proxy to a model at `ws://`.",
    )
    all_proxy: str | None = setting(
        "ALL_PROXY",
        default=None,
        parse=text,
        expected="an http:// address",
        help="HTTP proxy where the setting for the scheme is not set.",
    )
    no_proxy: str | None = setting(
        "NO_PROXY",
        default=None,
        parse=text,
        expected="host names, addresses and networks with commas between, or *",
        help="Hosts that are reached directly, with all below them. The loopback is not, unless "
        "it is named.",
    )

    @property
    def is_at_xai(self) -> bool:
        """Whether these settings lead to xAI: they say so, or its address."""
        named = self.dialect == "xai"
        return named or urlsplit(self.endpoint or DEFAULT_ENDPOINT).hostname == XAI_HOST
