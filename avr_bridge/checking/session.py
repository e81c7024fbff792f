"""`check_model`: dial the model and set a session up, as a call would, step by step.

Without an answer it costs nothing. With one it asks the model for one spoken sentence, some 50
tokens, because a used-up quota, a model that is not there and sound in another format than agreed
often show only then. Carries no sound of a caller.
"""

from __future__ import annotations

import ipaddress
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio

from avr_bridge.audio.format import PCM16_24K, AudioFormat, Encoding
from avr_bridge.audio.sniff import looks_like_pcm16
from avr_bridge.checking.advice import (
    CONNECTION,
    NAME,
    TLS,
    UPGRADE,
    Finding,
    of_error,
    of_event,
)
from avr_bridge.checking.steps import Step, Verdict
from avr_bridge.errors import UpstreamError
from avr_bridge.upstream.client import open_realtime
from avr_bridge.upstream.commands import SpeakWords
from avr_bridge.upstream.dial import Stage, dial_realtime
from avr_bridge.upstream.endpoint import realtime_url
from avr_bridge.upstream.error_codes import Severity, severity_of
from avr_bridge.upstream.events import (
    AudioDelta,
    ErrorDetail,
    ErrorEvent,
    ResponseDone,
    SessionCreated,
    SessionUpdated,
)
from avr_bridge.upstream.formats import requested_format
from avr_bridge.upstream.proxy import proxy_of
from avr_bridge.upstream.setup import Phase, SessionSetup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from avr_bridge.config import ModelConfig
    from avr_bridge.proxies import ProxyAddress
    from avr_bridge.upstream.client import Dial, RealtimeConnection
    from avr_bridge.upstream.events import ServerEvent, Unknown
    from avr_bridge.upstream.setup import Agreed

__all__ = ["SENTENCE", "check_model"]

NAME_LIMIT_S = 5.0
"""Resolvers give up after 5 s a server; a caller would long be gone."""

SETUP_LIMIT_S = 6.0
"""For `session.created` and for `session.updated`, each; a call gives all attempts 10 s."""

ANSWER_LIMIT_S = 15.0
"""For the whole sentence; a reasoning model at high effort begins within 3 s."""

SLOW_ANSWER_MS = 3000
"""From the wish to the first sound; above it callers ask whether anybody is there."""

LEAST_MEASURED_MS = 500
"""Of billed sound; less is too coarse to tell a rate from."""

SENTENCE = "One, two, three, four, five."

SESSION, SETTINGS, ANSWER = "session", "settings", "answer"

_OTHER_FORMAT = "The bridge converts, at some cost of processor time: set OPENAI_AUDIO_FORMAT=pcm."


async def check_model(
    config: ModelConfig,
    instructions: str,
    *,
    tools: list[dict[str, Any]] | None = None,
    answer: bool = False,
    dial: Dial | None = None,
) -> list[Step]:
    """Try the model, until something fails.

    Args:
        config: Address, key and session.
        instructions: The system prompt.
        tools: Entries for the session's tools.
        answer: Whether to ask for a spoken sentence; costs some tokens.
        dial: Replaces the network; then there is one step for all of the connection.

    Returns:
        What was tried, in order; only the last one can have failed.
    """
    trial = _Trial(config, instructions, tools or [])
    await trial.run(dial, with_answer=answer)
    return trial.steps


class _Failed(Exception):
    """The step that runs has failed."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.words)


class _Trial:
    """One attempt, with a stop watch."""

    def __init__(self, config: ModelConfig, instructions: str, tools: list[dict[str, Any]]) -> None:
        self.steps: list[Step] = []
        self._config = config
        self._instructions = instructions
        self._url = realtime_url(config)
        self._proxy: ProxyAddress | None = None
        self._setup = SessionSetup(
            config, instructions, requested_format(config), tools=tools, interruptible=True
        )
        self._begun_s = trio.current_time()
        self._at = CONNECTION

    async def run(self, dial: Dial | None, *, with_answer: bool) -> None:
        try:
            if dial is None:
                self._proxy = proxy_of(self._config, self._url)
                await self._find_name()
                dial = partial(dial_realtime, proxy=self._proxy, reached=self._reached)
            async with open_realtime(self._config, dial=dial) as connection:
                if not self.steps:
                    self._done("connected")
                # What fails here is told here: out of the connection it would come in a group.
                with self._failures_told():
                    self._at = SESSION
                    await self._use(connection, with_answer=with_answer)
        except (UpstreamError, _Failed) as error:
            self._failed(error)

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except (UpstreamError, _Failed) as error:
            self._failed(error)

    # -- the way there

    async def _find_name(self) -> None:
        self._at = NAME
        parts = urlsplit(self._url)
        host = self._proxy.host if self._proxy else parts.hostname or ""
        if _is_number(host):
            self._at = CONNECTION
            return
        found: list[Any] = []
        with trio.move_on_after(NAME_LIMIT_S):
            try:
                found = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                words = getattr(error, "strerror", None) or "it is no name"
                raise _Failed(_unknown_name(host, words, proxied=bool(self._proxy))) from error
        if not found:
            words = f"no answer within {NAME_LIMIT_S:g} s"
            raise _Failed(_unknown_name(host, words, proxied=bool(self._proxy)))
        self._done(f"{host} is {found[0][4][0]}")
        self._at = CONNECTION

    def _reached(self, stage: Stage) -> None:
        parts = urlsplit(self._url)
        match stage:
            case Stage.CONNECTED:
                way = f"through the proxy {self._proxy}" if self._proxy else "directly"
                self._done(f"to {parts.netloc}, {way}")
                self._at = TLS if parts.scheme == "wss" else UPGRADE
            case Stage.SECURED:
                self._done("the certificate is good")
                self._at = UPGRADE
            case Stage.UPGRADED:
                self._done("a WebSocket")

    # -- the session

    async def _use(self, connection: RealtimeConnection, *, with_answer: bool) -> None:
        await self._wait(SETUP_LIMIT_S, "no session.created", self._create, connection)
        self._done("the server takes us in")
        self._at = SETTINGS
        agreed = await self._wait(SETUP_LIMIT_S, "no session.updated", self._update, connection)
        self._judge_formats(agreed)
        if with_answer:
            self._at = ANSWER
            await self._wait(ANSWER_LIMIT_S, "no whole answer", self._answer, connection, agreed)

    async def _wait[*Given, Result](
        self,
        limit_s: float,
        otherwise: str,
        work: Callable[[*Given], Awaitable[Result]],
        *given: *Given,
    ) -> Result:
        with trio.move_on_after(limit_s):
            return await work(*given)
        raise _Failed(
            Finding(
                f"{otherwise} within {limit_s:g} s",
                "Look at the provider's status page; with another OPENAI_ENDPOINT: does it speak "
                "the Realtime API? OPENAI_DIALECT=auto finds out how.",
            )
        )

    async def _create(self, connection: RealtimeConnection) -> None:
        while True:
            event = await self._next(connection)
            if isinstance(event, SessionCreated):
                command = self._setup.created(event, "br-check")
                if command is not None:
                    connection.send_nowait(command)
                return

    async def _update(self, connection: RealtimeConnection) -> Agreed:
        while True:
            event = await self._next(connection)
            if isinstance(event, SessionUpdated):
                agreed = self._setup.updated(event)
                if agreed is None:
                    raise _Failed(
                        Finding(
                            "the server asks for an audio format that the bridge does not speak",
                            "Try OPENAI_AUDIO_FORMAT=pcm.",
                        )
                    )
                return agreed

    async def _next(self, connection: RealtimeConnection) -> ServerEvent | Unknown:
        event = await connection.receive()
        if isinstance(event, ErrorEvent) and self._is_fatal(event.error):
            raise _Failed(of_event(event.error))
        return event

    def _is_fatal(self, error: ErrorDetail) -> bool:
        # Before there is a session each error ends it; the close that follows says less.
        opening = self._setup.phase is Phase.OPENING
        refused = self._setup.is_refused_by(error)
        return opening or refused or severity_of(error) is Severity.FATAL

    def _judge_formats(self, agreed: Agreed) -> None:
        wanted = requested_format(self._config).encoding.value
        if agreed.as_requested:
            self._done(f"{self._config.model}, voice {self._config.voice}, {wanted} both ways")
            return
        got = f"{agreed.to_model.encoding.value} in, {agreed.from_model.encoding.value} out"
        self._done(
            f"the server does not speak {wanted}: {got}", Verdict.WARNING, advice=_OTHER_FORMAT
        )

    async def _answer(self, connection: RealtimeConnection, agreed: Agreed) -> None:
        words = f"Say exactly these words and nothing else: {SENTENCE}"
        connection.send_nowait(SpeakWords(SENTENCE, words, "br-check-answer"))
        asked_s, first_ms, sound = trio.current_time(), 0.0, b""
        while True:
            event = await self._next(connection)
            if isinstance(event, AudioDelta):
                first_ms = first_ms or (trio.current_time() - asked_s) * 1000
                sound += event.delta
            elif isinstance(event, ResponseDone):
                break
        response = event.response
        if response.status == "failed":
            raise _Failed(of_event(response.error or ErrorDetail()))
        if not sound:
            raise _Failed(
                Finding(
                    f"an answer without sound (status {response.status})",
                    "Try again; if it stays, try another OPENAI_MODEL.",
                )
            )
        if _is_pcm(sound, response.billed_audio_ms, agreed.from_model):
            self._done(
                "the model agreed to G.711 and sends PCM", Verdict.WARNING, advice=_OTHER_FORMAT
            )
            return
        said = f"first sound after {first_ms:.0f} ms"
        if first_ms > SLOW_ANSWER_MS:
            advice = "A lower OPENAI_REASONING_EFFORT or a smaller OPENAI_MODEL answers sooner."
            self._done(f"{said}: slow", Verdict.WARNING, advice=advice)
        else:
            self._done(said)

    # -- the book

    def _done(self, words: str, verdict: Verdict = Verdict.OK, *, advice: str = "") -> None:
        now_s = trio.current_time()
        took_ms = (now_s - self._begun_s) * 1000
        self.steps.append(Step(self._at, verdict, words, took_ms, advice))
        self._begun_s = now_s

    def _failed(self, error: UpstreamError | _Failed) -> None:
        if isinstance(error, _Failed):
            finding = error.finding
        else:
            finding = of_error(error, self._at, proxied=self._proxy is not None)
        self._done(finding.words, Verdict.FAILED, advice=finding.advice)


def _is_number(host: str) -> bool:
    """Whether it is an address already, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _unknown_name(host: str, words: str, *, proxied: bool) -> Finding:
    setting = "the proxy's address" if proxied else "OPENAI_ENDPOINT"
    return Finding(
        f"the name {host} is not known ({words})",
        f"Look at {setting}, and at the name servers of the container; where only a proxy leads "
        "out, set HTTPS_PROXY.",
    )


def _is_pcm(sound: bytes, billed_ms: int, agreed: AudioFormat) -> bool:
    """Whether an answer announced as G.711 is PCM16 at 24 kHz; by its bytes, else by its bill."""
    if agreed.encoding is Encoding.PCM16:
        return False
    verdict = looks_like_pcm16(sound, agreed.encoding)
    if verdict is not None or billed_ms < LEAST_MEASURED_MS:
        return bool(verdict)
    as_g711_ms, as_pcm_ms = agreed.ms(len(sound)), PCM16_24K.ms(len(sound))
    return abs(as_pcm_ms - billed_ms) < abs(as_g711_ms - billed_ms)
