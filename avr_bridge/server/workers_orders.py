"""What a worker process and its parent say to each other, one byte each; the end of it says more.

Constants only, so that the parent loads nothing of a server. A closed channel tells the parent that
the worker has ended, and the worker that the parent has.
"""

from __future__ import annotations

__all__ = ["DRAIN", "HURRY", "OPEN", "READY"]

READY = b"r"
"""From the worker: all is loaded."""
OPEN = b"o"
"""To the worker: accept connections."""
DRAIN = b"d"
"""To the worker: no new calls; end when the running ones have."""
HURRY = b"h"
"""To the worker: end them now."""
