"""``python -m avr_bridge`` and the console script ``avr-bridge``, which are the same.

First come the signals, then the imports. What a probe starts every few seconds imports least.
"""

from __future__ import annotations

import sys

from avr_bridge import early_signals

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        early_signals.heed()
    if sys.argv[1:2] == ["health"]:
        from avr_bridge.health import run_in_short

        code = run_in_short(sys.argv[1:])
        if code is not None:
            sys.exit(code)
    from avr_bridge.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
