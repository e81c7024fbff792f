"""avr-bridge: carries telephone calls of Agent Voice Response to a Realtime model and back.

How a call flows. For each call, an endpoint opens one nursery with three tasks joined by memory
channels, and one beside them for tools; cancelling that nursery on hangup tears everything
down::

               caller/                  call/                        upstream/
    avr-core -> websocket | http -> pump_inbound  -> uplink -> writer -> Realtime model
    avr-core <- websocket | http <- pump_outbound <- orders <- run_conversation <- model
    Asterisk <-> chan_websocket | audiosocket, in their place
                                 one nursery per call: call/session.py

- `pump_inbound` takes everything off the caller's socket at once. Sound goes to the `Uplink`,
  which keeps the first words until the session is ready and then hands the connection's writer
  whatever the model can take; the oldest is dropped, and counted, if it cannot.
- `run_conversation` reads the model's events and feeds them to the state machine in
  `upstream/conversation.py`, which has no I/O; what that decides becomes commands to the model
  and orders for the outbound pump. It never waits on anything but the model.
- `run_tools` runs what the model calls, and hangs up or transfers when the goodbye was heard.
- `pump_outbound` holds what is still to be played, sends it paced to real time, drops it the
  moment the caller speaks, and then says how much of it was heard.

`run_call` is that call, for any Trio program; `create_app` is the endpoint; `serve` runs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avr_bridge.call.ending import CallFailed, CallSummary, EndReason
    from avr_bridge.call.session import run_call
    from avr_bridge.caller.transport import CallerTransport
    from avr_bridge.config import (
        AudioConfig,
        BridgeConfig,
        LogConfig,
        ModelConfig,
        Secret,
        ServerConfig,
        TalkConfig,
        ToolsConfig,
    )
    from avr_bridge.errors import AvrBridgeError, ConfigError
    from avr_bridge.server.app import create_app
    from avr_bridge.server.serve import serve

__version__ = "0.1.0"

__all__ = [
    "AudioConfig",
    "AvrBridgeError",
    "BridgeConfig",
    "CallFailed",
    "CallSummary",
    "CallerTransport",
    "ConfigError",
    "EndReason",
    "LogConfig",
    "ModelConfig",
    "Secret",
    "ServerConfig",
    "TalkConfig",
    "ToolsConfig",
    "create_app",
    "run_call",
    "serve",
]

_HOME_OF = {
    "AudioConfig": "config",
    "AvrBridgeError": "errors",
    "BridgeConfig": "config",
    "CallFailed": "call.ending",
    "CallSummary": "call.ending",
    "CallerTransport": "caller.transport",
    "ConfigError": "errors",
    "EndReason": "call.ending",
    "LogConfig": "config",
    "ModelConfig": "config",
    "Secret": "config",
    "ServerConfig": "config",
    "TalkConfig": "config",
    "ToolsConfig": "config",
    "create_app": "server.app",
    "run_call": "call.session",
    "serve": "server.serve",
}


def __getattr__(name: str) -> Any:
    """Load each name when it is asked for: `run_call` needs neither Quart nor Hypercorn, and the
    command line has to heed signals before half a second of imports."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value
