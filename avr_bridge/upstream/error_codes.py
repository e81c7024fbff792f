"""Which of the model's errors are noise, which are worth a word, and which end the call.

One table by error code. The codes and their meaning are those seen from OpenAI's servers; a
code that is not listed is reported and survived, because most errors leave the session usable.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avr_bridge.upstream.events import ErrorDetail

__all__ = ["Severity", "severity_of"]


class Severity(enum.Enum):
    """What an error means for the call."""

    NOISE = "noise"
    """A harmless race or a thing already gone: debug log, nobody is told."""

    REPORT = "report"
    """Something did not work; the call goes on. Logged, and told to avr-core."""

    FATAL = "fatal"
    """It can never work with these settings: the call ends and no retry helps."""


_SEVERITY = {
    # races of two parties who both start and stop answers
    "conversation_already_has_active_response": Severity.NOISE,
    "response_cancel_not_active": Severity.NOISE,
    "input_audio_buffer_commit_empty": Severity.NOISE,
    # the item is gone, or shorter than we thought
    "item_truncate_invalid_item_id": Severity.NOISE,
    "item_retrieve_invalid_item_id": Severity.NOISE,
    "item_delete_invalid_item_id": Severity.NOISE,
    "unsupported_content_type": Severity.NOISE,
    # the account, the key or the address is wrong
    "insufficient_quota": Severity.FATAL,
    "billing_hard_limit_reached": Severity.FATAL,
    "account_deactivated": Severity.FATAL,
    "invalid_api_key": Severity.FATAL,
    "model_not_found": Severity.FATAL,
    "beta_api_shape_disabled": Severity.FATAL,
    "invalid_intent": Severity.FATAL,
}

_TRUNCATED_TOO_LATE = "already shorter than"
"""Part of the message of an `invalid_value` that only means: there was less to cut."""


def severity_of(error: ErrorDetail) -> Severity:
    """Look an error up. Errors of the first `session.update` are for the caller to judge."""
    if error.message and _TRUNCATED_TOO_LATE in error.message:
        return Severity.NOISE
    return _SEVERITY.get(error.code or "", Severity.REPORT)
