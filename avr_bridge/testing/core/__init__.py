"""A stand-in for avr-core: Asterisk on one side, an STS container such as the bridge on the other.

avr-core itself is closed source. This does what its wiki and the connectors' sources say of it, so
that *Asterisk -> core -> bridge -> model* can be tried; it has no ASR, LLM, TTS, noise or webhooks.
`python -m avr_bridge.testing.core` runs it.
"""

from avr_bridge.testing.core.standin import CoreEvent, StandInCore

__all__ = ["CoreEvent", "StandInCore"]
