"""Secrets taken out of text that leaves the process: logs, errors, words for the caller.

The second line of defence. The first is that nothing puts a secret into a text; this one is for
texts that others wrote: the model's server, a library, an exception. Knows no settings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MASKED", "Mask", "masked_address"]

MASKED = "***"

SHORTEST_MASKED_CHARS = 8
"""A shorter secret is left alone: placeholders such as ``none`` or ``local`` are words, and would
be cut out of every sentence. Keys have 20 characters and more."""

_KEYS = re.compile(r"(?<![A-Za-z0-9])(?:sk|xai)-[\w*-]{4,}|[\w-]*\*{6,}[\w*-]*")
"""What looks like a key whosever it is; OpenAI quotes a wrong one with stars in its middle."""

_UNESCAPED = re.compile(r"[A-Za-z0-9_.-]")


class Mask:
    """Called with a text, gives it back with ``***`` in place of every secret.

    A secret is found as it is, and as JSON, `repr` or a URL write it. What looks like somebody's
    key is masked too, and so is what `learn_secrets` was told.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        long = {secret for secret in secrets if len(secret) >= SHORTEST_MASKED_CHARS}
        # A secret that holds another one goes first.
        ordered = sorted(long, key=len, reverse=True)
        self._plain = [one for one in ordered if not _UNESCAPED.sub("", one)]
        escaped = [_spellings(one) for one in ordered if _UNESCAPED.sub("", one)]
        self._escaped = re.compile("|".join(escaped)) if escaped else None

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        if _learned.secrets and self is not _learned.mask:
            text = _learned.mask(text)
        if self._escaped is not None:
            text = self._escaped.sub(MASKED, text)
        for secret in self._plain:
            # Sound from the model comes through here too: most text costs one search a secret.
            if secret in text:
                text = text.replace(secret, MASKED)
        # Base64 has neither sign, and one sign is looked for a hundred times faster than three.
        may_be_key = "-" in text and ("sk-" in text or "xai-" in text)
        if may_be_key or ("*" in text and "******" in text):
            text = _KEYS.sub(MASKED, text)
        return text

    def __repr__(self) -> str:
        return "Mask()"


class _Learned:
    """Secrets that no setting holds, of the whole process."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.mask = Mask()


_learned = _Learned()


def learn_secrets(secrets: Iterable[str]) -> None:
    """Have every mask of this process take these out too: credentials in the files of tools, which
    are read when masks exist already."""
    _learned.secrets.update(secrets)
    _learned.mask = Mask(_learned.secrets)


def _spellings(secret: str) -> str:
    """A pattern for a secret whose signs some writers escape."""
    return "".join(_spellings_of_sign(sign) for sign in secret)


def _spellings_of_sign(sign: str) -> str:
    plain = re.escape(sign)
    if _UNESCAPED.match(sign):
        return plain
    code = f"{ord(sign):02x}"
    return rf"(?:\\?{plain}|(?i:\\u00{code}|%{code}))"


def masked_address(value: str) -> str:
    """`value` without the user, password and query that an address may carry.

    It need be no sound address: what stands before the last ``@`` is taken as a password.
    """
    value = re.sub(r"^((?:\w+:)?//)?.*@", rf"\1{MASKED}@", value, flags=re.DOTALL)
    if "://" in value:
        value = re.sub(r"\?.*", f"?{MASKED}", value, flags=re.DOTALL)
    return value
