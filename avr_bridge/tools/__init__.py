"""What the model may do besides talking: call control, and the tools of the deployment.

Beside the road of the sound: the call hands the model `Toolbox.descriptions`, and runs with
`Toolbox.run` what the model asks for. What a tool wants done to the call itself comes back as a
`ControlRequest`; this package does not wait for a goodbye and knows nothing of the conversation.
`AmiClient` then carries the request out, or `ManagerClient` where there is no avr-core.

Tools come from `load_tools`: the built-in ones, and the files of one directory.
"""

from __future__ import annotations

from avr_bridge.tools.ami import AmiClient
from avr_bridge.tools.loading import load_tools
from avr_bridge.tools.manager import LegId, ManagerClient, manager_of
from avr_bridge.tools.tool import CallContext, ControlRequest, LoadedTool, ToolResult
from avr_bridge.tools.toolbox import Toolbox

__all__ = [
    "AmiClient",
    "CallContext",
    "ControlRequest",
    "LegId",
    "LoadedTool",
    "ManagerClient",
    "ToolResult",
    "Toolbox",
    "load_tools",
    "manager_of",
]
