"""Pure and synchronous audio arithmetic: formats, codecs, resampling, framing, pacing.

Nothing in this folder knows trio, sockets or the wire protocols.
"""
