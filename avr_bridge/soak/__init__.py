"""Soak testing: calls by the hundred against any STS container, and a verdict that can be believed.

Beside the audio's road, not on it. ``load/`` places the calls and plays the model, in processes of
its own on asyncio with uvloop and picows, because the generator has to be cheaper than what it
measures; everything else here, which starts those processes, collects and judges, runs on Trio.
Needs the extra ``avr-bridge[soak]``.
"""
