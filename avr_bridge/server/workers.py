"""A worker process of several that share one port: its socket, its seat, and its parent's orders.

`serve` runs in it as it does alone, but accepts in turn with the others. The processes themselves
are `workers_parent.py`'s; how the turn is found is `workers_board.py`'s.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import Self

import trio
from hypercorn.utils import repr_socket_addr

from avr_bridge.server.sockets import PatientListener
from avr_bridge.server.workers_board import Board, Seat
from avr_bridge.server.workers_orders import DRAIN, HURRY, OPEN, READY
from avr_bridge.telemetry import get_logger

__all__ = ["TurnListener", "Worker"]

LOOK_EVERY_S = 0.001
"""While others may accept: what it costs a connection to be left to them."""

_GONE_AGAIN = {
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.EPERM,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.ETIMEDOUT,
}
"""Faults of one connection that never came to be, not of the socket."""


class Worker:
    """What a worker has from its parent.

    Args:
        seat: Its place among the others.
        listening: The bound socket that all share; accepts connections once `opened` is set.
        channel: To the parent, and from it: `workers_orders`.
        audiosocket: The same for AudioSocket; None: that port is off.

    Attributes:
        opened: Set when connections are to be accepted.
    """

    def __init__(
        self,
        seat: Seat,
        listening: socket.socket,
        channel: socket.socket,
        audiosocket: socket.socket | None = None,
    ) -> None:
        self.seat = seat
        self.opened = trio.Event()
        self._listening = listening
        self._audiosocket = audiosocket
        self._channel = trio.socket.from_stdlib_socket(channel)
        self._draining = trio.Event()
        self._hurried = trio.Event()
        self._orphaned = False

    @classmethod
    def from_words(cls, words: str) -> Self:
        """From the option that `workers_parent.py` writes: ``NUMBER/ALL:BOARD:LISTENING:CHANNEL``,
        the last three as descriptors, with one for AudioSocket behind them if its port is on.

        Raises:
            ValueError: It is something else.
            OSError: A descriptor is not what it should be.
        """
        place, *descriptors = words.split(":")
        number, _, workers = place.partition("/")
        board, *others = (int(one) for one in descriptors)
        os.set_inheritable(board, False)  # a tool's process needs none of them
        seat = Seat(Board(board, int(workers)), int(number))
        sockets = [socket.socket(fileno=one) for one in others]
        if not 2 <= len(sockets) <= 3:
            raise ValueError(words)
        for sock in sockets:
            sock.set_inheritable(False)
            sock.setblocking(False)
        return cls(seat, *sockets)

    @property
    def number(self) -> int:
        """From 1 on."""
        return self.seat.number

    def listen(self) -> tuple[list[PatientListener], list[str]]:
        """In place of `sockets.listen`."""
        listeners, addresses = self._listen(self._listening)
        return listeners, [f"http://{address}" for address in addresses]

    def listen_audiosocket(self) -> tuple[list[PatientListener], list[str]]:
        """In place of `sockets.listen_tcp`."""
        assert self._audiosocket is not None
        return self._listen(self._audiosocket)

    def _listen(self, sock: socket.socket) -> tuple[list[PatientListener], list[str]]:
        address = repr_socket_addr(sock.family, sock.getsockname())
        return [PatientListener(TurnListener(sock, self.seat, self.opened))], [address]

    async def report_ready(self) -> None:
        """Tell the parent that all is there but the connections."""
        try:
            await self._channel.send(READY)
        except OSError:
            return  # the parent is gone, which `obey` notices

    async def obey(self) -> None:
        """Take the parent's orders, until cancelled or the parent is gone: then drain."""
        while True:
            try:
                orders = await self._channel.recv(64)
            except OSError:
                orders = b""
            if OPEN in orders:
                self.seat.begin()
                self.opened.set()
            if DRAIN in orders:
                self._draining.set()
            if HURRY in orders:
                self._hurried.set()
            if not orders:
                break
        if not self._draining.is_set():
            get_logger().error("the parent process is gone: ending")
        self._orphaned = True
        self._draining.set()

    def take_signal(self) -> None:
        """A signal to this very process: it drains. Whoever stops a service signals all of its
        processes, so a second one hurries nobody, unless no parent is there to say so."""
        if self._draining.is_set() and self._orphaned:
            self._hurried.set()
        self._draining.set()

    async def wait_draining(self) -> None:
        """Wait for the word, or the signal, that begins the drain."""
        await self._draining.wait()

    async def wait_hurried(self) -> None:
        """Wait for the word that ends all calls at once."""
        await self._hurried.wait()


class TurnListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts from a socket that others accept from as well: the one with the fewest first.

    A connection stays the kernel's until somebody accepts it, so one that is left to a worker that
    died, or hangs, is lost to nobody.

    Args:
        sock: Not blocking.
        seat: Says how long to leave a connection to the others; counts those that were accepted.
        opened: Nothing is accepted until it is set.
    """

    def __init__(self, sock: socket.socket, seat: Seat, opened: trio.Event) -> None:
        self._sock = sock
        self._seat = seat
        self._opened = opened
        self._look = select.poll()
        self._look.register(sock, select.POLLIN)

    async def accept(self) -> trio.SocketStream:
        """The next connection that is ours."""
        await self._opened.wait()
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            await self._wait_turn()
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                continue  # another one has it
            except OSError as error:
                if error.errno in _GONE_AGAIN:
                    continue
                raise
            self._seat.count_connections(1)
            return trio.SocketStream(trio.socket.from_stdlib_socket(sock))

    async def aclose(self) -> None:
        """Close our descriptor of the socket; the others keep theirs."""
        self._sock.close()
        await trio.lowlevel.checkpoint()

    async def _wait_turn(self) -> None:
        """Until it is our turn, or the others had their time, or have taken what there was."""
        patience_s = self._seat.patience_s()
        since_s = trio.current_time()
        while trio.current_time() - since_s < patience_s:
            await trio.sleep(LOOK_EVERY_S)
            if not self._look.poll(0):
                return
            now_s = self._seat.patience_s()
            if now_s < patience_s:  # another one took one: what is there now came later
                since_s = trio.current_time()
            patience_s = now_s
