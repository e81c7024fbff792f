"""The sections of the settings: what each layer is told, with every variable's name and default.

Declarations only; `config.py` reads the environment into them, `settings.py` parses values.
"""

from __future__ import annotations

from avr_bridge.environment import DEFAULT_HOST, DEFAULT_PORT
from avr_bridge.model_section import DEFAULT_ENDPOINT, DEFAULT_MODEL, ModelConfig
from avr_bridge.settings import (
    Secret,
    call_action,
    choice,
    host_url,
    number,
    section,
    setting,
    switch,
    text,
    url,
    whole_number,
)

__all__ = [
    "DEFAULT_ENDPOINT",
    "DEFAULT_MODEL",
    "AudioConfig",
    "LogConfig",
    "ModelConfig",
    "ServerConfig",
    "TalkConfig",
    "ToolsConfig",
]

MOST_WORKERS = 64

LONGEST_BATCH_MS = 60
"""What it adds to an answer's delay is a tenth of what a listener notices."""


@section
class ServerConfig:
    """Where the bridge listens, and what its callers may do."""

    host: str = setting(
        "AVR_HOST",
        default=DEFAULT_HOST,
        parse=text,
        expected="an address to listen on",
        help="Address to listen on. The default is every IPv4 address, as avr-core needs it.",
    )
    port: int = setting(
        "PORT",
        default=DEFAULT_PORT,
        parse=whole_number(0, 65535),
        expected="a port number, 0 to 65535 (0: any free one)",
        help="Port of both transports, WebSocket and HTTP.",
    )
    token: Secret | None = setting(
        "AVR_TOKEN",
        default=None,
        parse=Secret.parse,
        expected="a secret of ASCII signs without blanks",
        help="Secret that callers must give, as `Authorization: Bearer` or as query `token`. "
        "Unset: every caller is let in.",
    )
    metrics_token: Secret | None = setting(
        "AVR_METRICS_TOKEN",
        default=None,
        parse=Secret.parse,
        expected="a secret of ASCII signs without blanks",
        help="Secret that whoever reads `/metrics` must give, so that a monitor needs no right to "
        "place calls. Unset: AVR_TOKEN, if that is set.",
    )
    console: bool = setting(
        "AVR_CONSOLE",
        default=False,
        parse=switch,
        expected="on or off",
        help="Whether `/console` serves a page that places calls and shows those that run. To this "
        "machine only, unless AVR_TOKEN is set.",
    )
    workers: int | None = setting(
        "AVR_WORKERS",
        default=1,
        parse=whole_number(1, MOST_WORKERS, infinite=("auto",)),
        expected=f"a whole number from 1 to {MOST_WORKERS}, or auto",
        help="Processes of `avr-bridge serve` that share the port, each with its own calls. "
        "auto: one for each core.",
    )
    drain_s: float = setting(
        "AVR_DRAIN_S",
        default=8.0,
        parse=number(0.0, 86_400.0),
        expected="seconds, 0 (end them at once) to 86400",
        help="Time for running calls after SIGTERM. The default fits `docker stop`.",
    )
    farewell_file: str | None = setting(
        "AVR_FAREWELL_FILE",
        default=None,
        parse=text,
        expected="a WAV file's path, or off",
        help="What calls hear that outlive AVR_DRAIN_S. Unset: a clip that ships; off: nothing.",
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
    ready_checks_model: bool = setting(
        "AVR_READY_CHECKS_MODEL",
        default=False,
        parse=switch,
        expected="on or off",
        help="Whether `/readyz` also needs that the model answers: tried every 30 s, by a session "
        "that is set up and closed.",
    )
    batch_ms: int | None = setting(
        "AVR_BATCH_MS",
        default=None,
        parse=whole_number(0, LONGEST_BATCH_MS, infinite=("auto",)),
        expected=f"milliseconds, 0 (never) to {LONGEST_BATCH_MS}, or auto",
        help="How long callers' sound is gathered before it is read, to save processor time. "
        "Unset or auto: not at all while there is time, up to 40 ms from half of a core on.",
    )
    audiosocket_port: int | None = setting(
        "AVR_AUDIOSOCKET_PORT",
        default=None,
        parse=whole_number(0, 65535, infinite=("off",)),
        expected="a port number, 0 to 65535 (0: any free one), or off",
        help="Port for calls straight from Asterisk over AudioSocket, which has no authentication. "
        "Unset or off: none.",
    )
    audiosocket_codec: str = setting(
        "AVR_AUDIOSOCKET_CODEC",
        default="auto",
        parse=choice("auto", "slin", "ulaw", "alaw"),
        expected="auto, slin, ulaw or alaw",
        help="What Asterisk sends there. auto: found out from each call's first sound.",
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
    max_cost_usd: float = setting(
        "AVR_MAX_COST_PER_CALL",
        default=0.0,
        parse=number(0.0, 10_000.0),
        expected="US dollars, 0 (no limit) to 10000",
        help="Most that a call may cost by the list of prices; then the model says goodbye and the "
        "call is hung up. Refused at start for a model without a price.",
    )
    max_tokens: int = setting(
        "AVR_MAX_TOKENS_PER_CALL",
        default=0,
        parse=whole_number(0, 1_000_000_000),
        expected="a whole number, 0 (no limit) to 1000000000",
        help="The same for tokens: all that its answers took and made, cached ones included.",
    )
    fallback_file: str | None = setting(
        "AVR_FALLBACK_FILE",
        default=None,
        parse=text,
        expected="a WAV file's path, or off",
        help="Words for a caller whom the model cannot serve. Unset: an English clip; off: none.",
    )
    fallback_action: str = setting(
        "AVR_FALLBACK_ACTION",
        default="hangup",
        parse=call_action,
        expected="hangup, transfer:EXTENSION or transfer:EXTENSION@CONTEXT",
        help="What is done behind these words.",
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
    manager_endpoint: str | None = setting(
        "AVR_MANAGER_ENDPOINT",
        default=None,
        parse=host_url("tcp", "tls"),
        expected="an address such as tcp://asterisk:5038 or tls://asterisk:5039",
        help="Asterisk's manager (AMI), which transfers calls that come straight from Asterisk.",
    )
    manager_user: str | None = setting(
        "AVR_MANAGER_USER",
        default=None,
        parse=text,
        expected="a user of manager.conf",
        help="Its user.",
    )
    manager_password: Secret | None = setting(
        "AVR_MANAGER_PASSWORD",
        default=None,
        parse=Secret.parse,
        expected="a secret of ASCII signs without blanks",
        help="The user's secret; it is not sent, only an answer to a challenge.",
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
    content: bool = setting(
        "AVR_LOG_CONTENT",
        default=False,
        parse=switch,
        expected="on or off",
        help="Whether what was said, keys pressed, tools' arguments and the call's own data (its "
        "query parameters, such as the caller's number) are logged, at info.",
    )
    prices_file: str | None = setting(
        "AVR_PRICES_FILE",
        default=None,
        parse=text,
        expected="a TOML file's path",
        help="Prices that go before those that ship, for the estimated cost of calls.",
    )
    calls: str | None = setting(
        "AVR_LOG_CALLS",
        default=None,
        parse=text,
        expected="ids of calls, or patterns with * and ?, with commas between",
        help="Calls of which every line is logged, debug too, whatever AVR_LOG_LEVEL is.",
    )
    webhook: str | None = setting(
        "AVR_CALL_WEBHOOK",
        default=None,
        parse=url("http", "https"),
        expected="an http or https address",
        help="Address that gets the record of each call, with its transcript, when it is over.",
    )
    webhook_secret: Secret | None = setting(
        "AVR_CALL_WEBHOOK_SECRET",
        default=None,
        parse=Secret.parse,
        expected="a secret of ASCII signs without blanks",
        help="Signs these records, so that the receiver knows where they come from.",
    )
