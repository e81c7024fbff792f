"""Who may place a call: the shared secret of AVR_TOKEN, in a header or in the address.

Pure. avr-core can send no header of its own, so the secret may stand in its ``STS_URL`` as
``?token=...`` too. Asterisk sends a user and a password (``websocket_client.conf``): the password
is the secret, the user is nobody.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from avr_bridge.config import Secret

__all__ = ["TOKEN_PARAMETER", "is_admitted", "without_token"]

TOKEN_PARAMETER = "token"

MOST_TOKENS = 4
"""Compared in one request. avr-core adds the call's own data to its address, so the name may come
more than once; hundreds of them are guesses."""


def is_admitted(token: Secret | None, authorization: str, queried: Iterable[str]) -> bool:
    """Whether a caller has the secret.

    Args:
        token: The secret; None admits everybody.
        authorization: The header ``Authorization``, or nothing.
        queried: Every value of the query parameter ``token``.
    """
    if token is None:
        return True
    scheme, _, credentials = authorization.partition(" ")
    given = list(queried)[:MOST_TOKENS]
    if scheme.lower() == "bearer":
        given.append(credentials.strip())
    elif scheme.lower() == "basic":
        given.append(_password(credentials))
    wanted = token.reveal().encode()
    # All are compared, each in a time that tells nothing. Bytes, since text has to be ASCII.
    matches = [hmac.compare_digest(one.encode("utf-8", "surrogateescape"), wanted) for one in given]
    return any(matches)


def _password(credentials: str) -> str:
    """Of ``Basic`` credentials; nothing for what is none."""
    try:
        pair = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return pair.partition(":")[2]


def without_token(metadata: Mapping[str, str]) -> dict[str, str]:
    """The call's metadata, which tools and prompts get, without the secret; set or not."""
    return {name: value for name, value in metadata.items() if name != TOKEN_PARAMETER}
