"""Asterisk's manager interface (AMI), which transfers calls whose leg comes straight from Asterisk.

ARI cannot: its `redirect` and `continue` answer 409 for every channel outside a Stasis application,
and a channel in Dial() or AudioSocket() is outside. The manager's Redirect takes any channel. One
short connection for each action: log in without sending the password, find the caller's channel
among those that there are, act. A login is granted whatever its user may do, but ListCommands has
only what this user may use: so it is known before the attempt what would be refused. What is read
and written is `manager_protocol.py`'s; when to act is decided by the call.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from avr_bridge.errors import ToolError
from avr_bridge.tools.manager_protocol import (
    LegId,
    Packet,
    PacketReader,
    action,
    caller_channel,
    login_key,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from avr_bridge.config import ToolsConfig

__all__ = ["LegId", "ManagerClient", "manager_of"]

DEFAULT_LIMIT_S = 5.0
"""Of one action, login included. Asterisk answers within milliseconds; the caller waits in
silence."""

RIGHTS = "write = call,reporting"
"""All that a user of ``manager.conf`` needs for `USED`: ``call`` for Redirect, Hangup and Getvar,
``reporting`` for CoreShowChannels. ``read`` is for events alone; its answers come without it."""

USED = ("CoreShowChannels", "Getvar", "Redirect", "Hangup")
_FOR_TRANSFER = ("CoreShowChannels", "Getvar", "Redirect")
_DENIED = "Permission denied"

DEFAULT_PORTS = {"tcp": 5038, "tls": 5039}
_RECEIVE_BYTES = 16 * 1024


class ManagerClient:
    """Call control for all calls; holds no connection between actions.

    Args:
        endpoint: ``tcp://host:5038`` or ``tls://host:5039``.
        user: A user of ``manager.conf`` with `RIGHTS`.
        password: Its secret.
        tls: For ``tls://``; default: the system's authorities.
    """

    def __init__(
        self,
        endpoint: str,
        user: str,
        password: str,
        limit_s: float = DEFAULT_LIMIT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(endpoint)
        self._scheme = parts.scheme
        self._host = parts.hostname or ""
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._user = user
        self._password = password
        self._limit_s = limit_s
        self._tls = tls

    async def transfer(self, leg: LegId, extension: str, context: str, priority: int) -> None:
        """Send the caller of this leg to another extension of the dialplan.

        Raises:
            ToolError: It could not be done; in words.
        """

        async def act(asterisk: _Session) -> None:
            channel = await asterisk.transferable(leg, extension, context, priority)
            where = {"Exten": extension, "Context": context, "Priority": str(priority)}
            await asterisk.do("Redirect", Channel=channel, **where)

        await self._run(act)

    async def check_transfer(self, leg: LegId, extension: str, context: str, priority: int) -> None:
        """All of `transfer` but the transfer: login, rights, the caller's channel, the extension.

        Raises:
            ToolError: One of them is not to be had; in words.
        """

        async def act(asterisk: _Session) -> None:
            if denied := await asterisk.denied(_FOR_TRANSFER):
                raise ToolError(_may_not(denied))
            await asterisk.transferable(leg, extension, context, priority)

        await self._run(act)

    async def hang_up(self, leg: LegId) -> None:
        """Hang up the caller of this leg.

        Raises:
            ToolError: It could not be done; in words.
        """

        async def act(asterisk: _Session) -> None:
            await asterisk.do("Hangup", Channel=await asterisk.channel_of(leg), Cause="16")

        await self._run(act)

    async def denied(self) -> list[str]:
        """Log in, and ask which of the actions `USED` this user may not use.

        Raises:
            ToolError: It is not let in, or nobody answers; in words.
        """
        found: list[str] = []

        async def act(asterisk: _Session) -> None:
            found.extend(await asterisk.denied(USED))

        await self._run(act)
        return found

    async def _run(self, act: Callable[[_Session], Awaitable[None]]) -> None:
        with trio.move_on_after(self._limit_s):
            async with self._log_in() as asterisk:
                await act(asterisk)
            return
        raise ToolError(f"Asterisk's manager gave no answer within {self._limit_s:g} seconds")

    @asynccontextmanager
    async def _log_in(self) -> AsyncGenerator[_Session]:
        try:
            stream: trio.abc.Stream = await trio.open_tcp_stream(self._host, self._port)
        except OSError as error:
            raise ToolError("Asterisk's manager cannot be reached") from error
        if self._scheme == "tls":
            context = self._tls or ssl.create_default_context()
            stream = trio.SSLStream(stream, context, server_hostname=self._host)
        try:
            session = _Session(stream)
            await session.log_in(self._user, self._password)
            yield session
        except (trio.BrokenResourceError, ssl.SSLError) as error:
            raise ToolError("Asterisk's manager broke off") from error
        finally:
            with trio.CancelScope(shield=True):  # forcefully: it never waits
                await trio.aclose_forcefully(stream)


class _Session:
    """One connection that is logged in."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._reader = PacketReader()
        self._actions = 0

    async def log_in(self, user: str, password: str) -> None:
        """Raises `ToolError` where the user is not let in."""
        challenge = await self._ask("Challenge", AuthType="MD5")
        key = login_key(challenge.get("Challenge"), password)
        answer = await self._ask("Login", AuthType="MD5", Username=user, Key=key, Events="off")
        if not answer.ok:
            raise ToolError("Asterisk's manager does not let the bridge in")

    async def do(self, name: str, **values: str) -> Packet:
        """One action, and its answer. Raises `ToolError`, in words, where it is refused."""
        answer = await self._ask(name, **values)
        if answer.ok:
            return answer
        if answer.message == _DENIED:
            raise ToolError(_may_not([name]))
        raise ToolError(f"Asterisk refused: {answer.message}")

    async def denied(self, names: Iterable[str]) -> list[str]:
        """Which of these actions the user may not use; every user may ask for the list."""
        allowed = await self.do("ListCommands")
        return [name for name in names if not allowed.get(name)]

    async def channel_of(self, leg: LegId) -> str:
        """The name of the caller's channel. Raises `ToolError` where there is none."""
        await self.do("CoreShowChannels")
        channels = []
        while True:
            packet = await self._next()
            event = packet.get("Event")
            if event == "CoreShowChannelsComplete":
                break
            if event == "CoreShowChannel":
                channels.append(packet)
        found = caller_channel(channels, leg)
        if found is None:
            raise ToolError("the call is not known to Asterisk")
        return found

    async def transferable(self, leg: LegId, extension: str, context: str, priority: int) -> str:
        """The name of the caller's channel. Raises `ToolError` where it cannot be sent there."""
        channel = await self.channel_of(leg)
        if not await self.has_extension(channel, extension, context, priority):
            raise ToolError(f"there is no extension {extension} in the context {context}")
        return channel

    async def has_extension(
        self, channel: str, extension: str, context: str, priority: int
    ) -> bool:
        """Whether the dialplan has it. Redirect itself accepts anything, and the caller is then
        hung up on; where Asterisk cannot say (no func_dialplan, and then the value is empty), it is
        taken to be there."""
        exists = f"DIALPLAN_EXISTS({context},{extension},{priority})"
        answer = await self.do("Getvar", Channel=channel, Variable=exists)
        return answer.get("Value") != "0"

    async def _ask(self, name: str, **values: str) -> Packet:
        self._actions += 1
        id_ = str(self._actions)
        await self._stream.send_all(action(name, ActionID=id_, **values))
        while True:
            packet = await self._next()
            if packet.get("Response") and packet.get("ActionID") == id_:
                return packet

    async def _next(self) -> Packet:
        while (packet := self._reader.next()) is None:
            data = await self._stream.receive_some(_RECEIVE_BYTES)
            if not data:
                raise ToolError("Asterisk's manager broke off")
            self._reader.push(bytes(data))
        return packet


def _may_not(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"the bridge's user may not use {listed} of Asterisk's manager (it needs {RIGHTS})"


def manager_of(config: ToolsConfig) -> ManagerClient | None:
    """The client that the settings ask for; None if they ask for none."""
    if config.manager_endpoint is None:
        return None
    password = config.manager_password.reveal() if config.manager_password else ""
    return ManagerClient(config.manager_endpoint, config.manager_user or "", password)
