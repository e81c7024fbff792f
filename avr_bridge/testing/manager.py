"""A simulated manager interface of Asterisk: channels, a login, transfers and hangups.

On real sockets, for `ManagerClient` and programs that use AMI. Speaks as Asterisk 22.10.1 was seen
to; knows the actions that the bridge uses and the rights that each needs, and refuses all others.
Behind it is no switch: what an action does to a call is up to `on_done`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import attrs
import trio

from avr_bridge.testing.serving import serve_clients
from avr_bridge.tools.manager_protocol import Packet, PacketReader, login_key

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ManagerFault", "SimulatedManager", "channel"]

type ManagerFault = Literal["hang", "drop", "garbage"]

GREETING = b"Asterisk Call Manager/11.0.0\r\n"
ALL_RIGHTS = "all"
COMMANDS = {
    "CoreShowChannels": ("List currently active channels.", ("system", "reporting")),
    "Getvar": ("Gets a channel variable or function value.", ("call", "reporting")),
    "Hangup": ("Hangup channel.", ("system", "call")),
    "ListCommands": ("List available manager commands.", ()),
    "Redirect": ("Redirect (transfer) a call.", ("call",)),
}
"""By action what ListCommands says of it, and the words of ``write`` of which one is needed."""

_RECEIVE_BYTES = 16 * 1024


def channel(
    name: str,
    uniqueid: str,
    *,
    linkedid: str = "",
    bridge: str = "",
    application: str = "",
    data: str = "",
) -> dict[str, str]:
    """One line of CoreShowChannels.

    Args:
        name: Such as ``PJSIP/2000-00000013``.
        uniqueid: The channel's.
        linkedid: That of the channel that began the call; default: itself.
        bridge: In which it is, if in any.
        application: That it runs in the dialplan.
        data: The application's arguments.
    """
    return {
        "Channel": name,
        "ChannelStateDesc": "Up",
        "Uniqueid": uniqueid,
        "Linkedid": linkedid or uniqueid,
        "Application": application,
        "ApplicationData": data,
        "BridgeId": bridge,
    }


@attrs.define(eq=False)
class SimulatedManager:
    """A manager interface.

    Attributes:
        channels: What there is, each made by `channel`; one that was hung up leaves.
        extensions: Extension and context of all that can be dialled; None: all there could be,
            and func_dialplan is not loaded.
        rights: What ``manager.conf`` has in ``write`` for the user.
        faults: What becomes of the next connections, one each, behind their login.
        actions: Every action that came after a login, with its values.
        on_done: Told each transfer and hangup that was done.
    """

    user: str = "avr"
    password: str = attrs.field(default="secret", repr=False)
    channels: list[dict[str, str]] = attrs.field(factory=list)
    extensions: set[tuple[str, str]] | None = None
    rights: set[str] = attrs.field(factory=lambda: {"call", "reporting"})
    faults: list[ManagerFault | None] = attrs.field(factory=list)
    actions: list[Packet] = attrs.field(factory=list)
    on_done: Callable[[Packet], None] | None = None

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; reports the address for ``AVR_MANAGER_ENDPOINT``."""
        await serve_clients(self._client, "tcp://{}", host, port, task_status)

    def done(self, name: str) -> list[Packet]:
        """The actions of one name."""
        return [packet for packet in self.actions if packet.get("Action") == name]

    async def _client(self, stream: trio.SocketStream) -> None:
        reader, challenge, let_in = PacketReader(), secrets.token_hex(4), False
        fault: ManagerFault | None = None
        try:
            await stream.send_all(GREETING)
            while True:
                while (packet := reader.next()) is None:
                    data = await stream.receive_some(_RECEIVE_BYTES)
                    if not data:
                        return
                    reader.push(bytes(data))
                if packet.get("Action") == "Challenge":
                    await stream.send_all(_answer(packet, Challenge=challenge))
                elif packet.get("Action") == "Login":
                    wanted = (self.user, login_key(challenge, self.password))
                    let_in = (packet.get("Username"), packet.get("Key")) == wanted
                    if not let_in:
                        await stream.send_all(_error(packet, "Authentication failed"))
                        return
                    fault = self.faults.pop(0) if self.faults else None
                    await stream.send_all(_answer(packet, Message="Authentication accepted"))
                elif not let_in:
                    await stream.send_all(_error(packet, "Permission denied"))
                elif fault is not None:
                    await self._fail(stream, fault)
                    return
                else:
                    self.actions.append(packet)
                    for piece in self._act(packet):
                        await stream.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _fail(self, stream: trio.SocketStream, fault: ManagerFault) -> None:
        if fault == "hang":
            await trio.sleep_forever()
        if fault == "garbage":
            await stream.send_all(b"\xff\xfe" * 100_000)

    def _act(self, packet: Packet) -> Iterable[bytes]:
        name, given = packet.get("Action"), packet.get("Channel")
        if name not in COMMANDS:
            yield _error(packet, "Invalid/unknown command")
            return
        if not self._may(name):
            yield _error(packet, "Permission denied")
            return
        if name == "ListCommands":
            yield _answer(packet, **{name: _told(name) for name in COMMANDS if self._may(name)})
            return
        if name == "CoreShowChannels":
            yield _answer(packet, EventList="start", Message="Channels will follow")
            for one in self.channels:
                yield _packet({"Event": "CoreShowChannel", **one})
            yield _packet({"Event": "CoreShowChannelsComplete", "EventList": "Complete"})
            return
        if not any(one["Channel"] == given for one in self.channels):
            yield _error(packet, "No such channel")
            return
        if name == "Getvar":
            yield _answer(packet, Variable=packet.get("Variable"), Value=self._exists(packet))
            return
        if name == "Hangup":
            self.channels = [one for one in self.channels if one["Channel"] != given]
        yield _answer(packet, Message=f"{name} successful")
        if self.on_done is not None:
            self.on_done(packet)

    def _may(self, name: str) -> bool:
        needed = COMMANDS[name][1]
        return not needed or ALL_RIGHTS in self.rights or bool(self.rights.intersection(needed))

    def _exists(self, packet: Packet) -> str:
        if self.extensions is None:
            return ""
        words = packet.get("Variable").removeprefix("DIALPLAN_EXISTS(").removesuffix(")")
        context, extension, _priority = words.split(",")
        return str(int((extension, context) in self.extensions))


def _told(name: str) -> str:
    synopsis, needed = COMMANDS[name]
    rights = ",".join((*needed, ALL_RIGHTS)) if needed else "<none>"
    return f"{synopsis}  (Priv: {rights})"


def _answer(packet: Packet, **values: str) -> bytes:
    return _packet({"Response": "Success", "ActionID": packet.get("ActionID"), **values})


def _error(packet: Packet, message: str) -> bytes:
    return _packet({"Response": "Error", "ActionID": packet.get("ActionID"), "Message": message})


def _packet(values: dict[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in values.items()).encode() + b"\r\n"
