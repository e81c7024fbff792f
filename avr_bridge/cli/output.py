"""Lines for a person, from commands that must go on when nobody reads them any more."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import click

__all__ = ["say", "silence_stdout"]


def say(line: str, *, err: bool = False) -> None:
    """Print one line. A reader that is gone (``... | head -1``) silences the rest."""
    try:
        click.echo(line, err=err)
    except BrokenPipeError:
        _silence(sys.stderr if err else sys.stdout)


def silence_stdout() -> None:
    """Send all that is still printed nowhere, the interpreter's last flush included."""
    _silence(sys.stdout)


def _silence(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
