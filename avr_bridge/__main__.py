"""``python -m avr_bridge``: the same as the console script ``avr-bridge``."""

from __future__ import annotations

from avr_bridge.cli import main

if __name__ == "__main__":
    main()
