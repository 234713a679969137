"""What is known of OCPP over WebSocket: data, with its date and sources.

Sources are documents of the Open Charge Alliance, https://openchargealliance.org/protocols/open-charge-point-protocol/:
"1.6" = Open Charge Point Protocol 1.6, edition 2; "1.6J" = OCPP-J 1.6, its JSON over WebSocket; "2.0.1-2" and "2.0.1-4"
= OCPP 2.0.1, part 2 (Specification) and part 4 (JSON over WebSockets).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DATE: Final = "2026-11"
"""When it was read, and tried with the central systems that the README names."""

SUBPROTOCOLS: Final[Mapping[str, str]] = MappingProxyType({"1.6": "ocpp1.6", "2.0.1": "ocpp2.0.1"})
"""Versions and their subprotocols: 1.6J section 3.1.2; 2.0.1-4 section 3.1.2."""

CALL: Final = 2
RESULT: Final = 3
ERROR: Final = 4
"""Message types: 1.6J and 2.0.1-4 section 4.1.3."""

IN_FLIGHT: Final = 1
"""CALLs of one side that may wait for their answers: 1.6J and 2.0.1-4 section 4.1.1."""

BOOT: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "1.6": ("chargePointModel", "chargePointVendor"),  # 1.6 section 6.3
        "2.0.1": ("chargingStation.model", "chargingStation.vendorName", "reason"),  # 2.0.1-2, BootNotificationRequest
    }
)
"""What a BootNotification must have."""

MALFORMED: Final[Mapping[str, str]] = MappingProxyType({"1.6": "FormationViolation", "2.0.1": "RpcFrameworkError"})
"""The error of a CALL that is none: 1.6J section 4.2.3; 2.0.1-4 section 4.3."""

ACTIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "1.6": frozenset(  # 1.6 section 5, and the security whitepaper, edition 2, section 4
            [
                *["CancelReservation", "CertificateSigned", "ChangeAvailability", "ChangeConfiguration", "ClearCache"],
                *["ClearChargingProfile", "DataTransfer", "DeleteCertificate", "ExtendedTriggerMessage"],
                *["GetCompositeSchedule", "GetConfiguration", "GetDiagnostics", "GetInstalledCertificateIds"],
                *["GetLocalListVersion", "GetLog", "InstallCertificate", "RemoteStartTransaction"],
                *["RemoteStopTransaction", "ReserveNow", "Reset", "SendLocalList", "SetChargingProfile"],
                *["SignedUpdateFirmware", "TriggerMessage", "UnlockConnector", "UpdateFirmware"],
            ]
        ),
        "2.0.1": frozenset(  # 2.0.1-2, Messages
            [
                *["CancelReservation", "CertificateSigned", "ChangeAvailability", "ClearCache", "ClearChargingProfile"],
                *["ClearDisplayMessage", "ClearVariableMonitoring", "CostUpdated", "CustomerInformation"],
                *["DataTransfer", "DeleteCertificate", "GetBaseReport", "GetChargingProfiles", "GetCompositeSchedule"],
                *["GetDisplayMessages", "GetInstalledCertificateIds", "GetLocalListVersion", "GetLog"],
                *["GetMonitoringReport", "GetReport", "GetTransactionStatus", "GetVariables", "InstallCertificate"],
                *["PublishFirmware", "RequestStartTransaction", "RequestStopTransaction", "ReserveNow", "Reset"],
                *["SendLocalList", "SetChargingProfile", "SetDisplayMessage", "SetMonitoringBase"],
                *["SetMonitoringLevel", "SetNetworkProfile", "SetVariableMonitoring", "SetVariables"],
                *["TriggerMessage", "UnlockConnector", "UnpublishFirmware", "UpdateFirmware"],
            ]
        ),
    }
)
"""What a central system may ask. One of them that nobody here answers is NotSupported, any other NotImplemented."""

HEARTBEAT: Final = 300.0
"""Seconds between Heartbeats where nobody has said; the specifications leave it to the charge point."""
BOOT_RETRY: Final = 60.0
"""Seconds until the next BootNotification where the central system said 0: "in a way that avoids flooding", 1.6 section
4.2; 2.0.1-2 use case B02."""
REJECTED_MAX: Final = 86_400.0
"""Longest interval of a rejection that is obeyed, seconds."""

ATTEMPTS: Final = 3
RETRY_INTERVAL: Final = 60.0
"""TransactionMessageAttempts and TransactionMessageRetryInterval of 1.6 section 9.1, MessageAttempts and
MessageAttemptInterval (TransactionEvent) of 2.0.1-2 use case E13; their values are ours to choose."""
