"""How a call may fail, and a boot."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from libws_core import LibwsError
from libws_core.errors import Party

__all__ = ["BootRejected", "CallError", "ErrorCode"]

REASON = 200
"""Characters of what the central system said that the text of an error shows."""


class ErrorCode(StrEnum):
    """Codes of a CALLERROR: OCPP-J 1.6 section 4.2.3; OCPP 2.0.1 part 4 section 4.3.

    Two have one spelling in 1.6 and another in 2.0.1.
    """

    NOT_IMPLEMENTED = "NotImplemented"
    NOT_SUPPORTED = "NotSupported"
    INTERNAL_ERROR = "InternalError"
    PROTOCOL_ERROR = "ProtocolError"
    SECURITY_ERROR = "SecurityError"
    FORMATION_VIOLATION = "FormationViolation"
    FORMAT_VIOLATION = "FormatViolation"
    PROPERTY_CONSTRAINT_VIOLATION = "PropertyConstraintViolation"
    OCCURENCE_CONSTRAINT_VIOLATION = "OccurenceConstraintViolation"
    OCCURRENCE_CONSTRAINT_VIOLATION = "OccurrenceConstraintViolation"
    TYPE_CONSTRAINT_VIOLATION = "TypeConstraintViolation"
    MESSAGE_TYPE_NOT_SUPPORTED = "MessageTypeNotSupported"
    RPC_FRAMEWORK_ERROR = "RpcFrameworkError"
    GENERIC_ERROR = "GenericError"


class CallError(LibwsError):
    """A CALL was answered by a CALLERROR. The connection goes on. A handler raises it to answer with one.

    Args:
        error_code: an ErrorCode, or the str that the peer made up.
        description: what it says for people.
        details: what it says beside that.
        action: of the CALL.
    """

    fault: Party = "local"
    initiator: Party = "remote"

    def __init__(
        self,
        error_code: str,
        description: str = "",
        details: Mapping[str, Any] | None = None,
        *,
        action: str | None = None,
        **more: Any,
    ) -> None:
        said = f": {description[:REASON]}" if description else ""
        super().__init__(f"{action or 'the call'} was answered with {error_code[:REASON]}{said}", **more)
        self.error_code: str = next((code for code in ErrorCode if code == error_code), error_code)
        self.description = description
        self.details = dict(details or {})
        self.action = action


class BootRejected(LibwsError):
    """The central system does not accept this charge point, or not yet: `retry_after` says when to ask again."""

    fault: Party = "remote"
    initiator: Party = "remote"
