"""``python -m avr_bridge`` and the console script ``avr-bridge``, which are the same.

First come the signals, then the imports. What a probe starts every few seconds imports least.
"""

from __future__ import annotations

import os
import sys

from avr_bridge import early_signals

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        early_signals.heed()
    _have_streams()
    if sys.argv[1:2] == ["health"]:
        from avr_bridge.health import run_in_short

        code = run_in_short(sys.argv[1:])
        if code is not None:
            sys.exit(code)
    from avr_bridge.cli import main as run_command

    run_command()


def _have_streams() -> None:
    """Whoever starts us with a closed standard stream wants to hear nothing. Left closed, its
    number would be the next socket's, and a line of some library's would go to a caller."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
