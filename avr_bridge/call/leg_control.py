"""`LegControl`: hangs up and transfers a call whose leg comes straight from Asterisk.

Beside the conversation. The leg itself can hang up; a transfer needs the manager of Asterisk.
Without one avr-ami does it where it knows such legs, which it does of AudioSocket; else the model
is told in words that nobody can, before it has promised anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from avr_bridge.errors import CallerGone, ToolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from avr_bridge.tools import AmiClient, LegId, ManagerClient

__all__ = ["LegControl"]

NO_MANAGER = (
    "this line cannot transfer a call: the bridge has no access to Asterisk's manager "
    "(AVR_MANAGER_ENDPOINT)"
)


class LegControl:
    """One call's `ForeseeingControl`.

    Args:
        hang_up: Has the peer end the leg.
        leg: Says by what Asterisk knows it.
        manager: Asterisk's; None if there is none.
        ami: avr-ami, where it knows the call.
    """

    def __init__(
        self,
        hang_up: Callable[[], Awaitable[None]],
        leg: Callable[[], LegId],
        manager: ManagerClient | None,
        ami: AmiClient | None = None,
    ) -> None:
        self._hang_up = hang_up
        self._leg = leg
        self._manager = manager
        self._ami = ami

    async def hang_up(self, uuid: str) -> None:
        """Hang up the leg, or through the manager where that cannot be said any more.

        Raises:
            ToolError: It could not be done; in words.
        """
        try:
            await self._hang_up()
        except CallerGone:
            if self._manager is not None:
                await self._manager.hang_up(self._leg())

    async def check_transfer(self, uuid: str, extension: str, context: str, priority: int) -> None:
        """Find out whether `transfer` would work now; nothing is done to the call.

        Of avr-ami only whether it is there: it has no question for more.

        Raises:
            ToolError: It would not; in words.
        """
        if self._manager is not None:
            await self._manager.check_transfer(self._leg(), extension, context, priority)
        elif self._ami is not None:
            try:
                await self._ami.check_reachable()
            except ToolError as error:
                raise ToolError(f"{error}; {NO_MANAGER}") from error
        else:
            await trio.lowlevel.checkpoint()
            raise ToolError(NO_MANAGER)

    async def transfer(self, uuid: str, extension: str, context: str, priority: int) -> None:
        """Send the caller to another extension of the dialplan.

        Raises:
            ToolError: It could not be done; in words.
        """
        if self._manager is not None:
            await self._manager.transfer(self._leg(), extension, context, priority)
        elif self._ami is not None:
            try:
                await self._ami.transfer(uuid, extension, context, priority)
            except ToolError as error:
                raise ToolError(f"{error}; {NO_MANAGER}") from error
        else:
            raise ToolError(NO_MANAGER)
