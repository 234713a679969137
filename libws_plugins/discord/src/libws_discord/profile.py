"""What is known of Discord's gateway, version 10: data, each fact with its source.

They change; `DATE` is when they were read. What is ours and not theirs, such as how far we stay from a limit, is in the
plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

DATE: Final = "2026-11"
"""When the facts of this file were read."""

DOCS = "https://docs.discord.com/developers"
GATEWAY = f"{DOCS}/events/gateway"
EVENTS = f"{DOCS}/events/gateway-events"
CODES_PAGE = f"{DOCS}/topics/opcodes-and-status-codes"

API: Final = "https://discord.com/api/v10"
"""The REST API, which is asked for the gateway's URL and how many sessions may be begun: DOCS/reference, "Base URL"."""
BOT: Final = "/gateway/bot"
"""Where: GATEWAY, "Get Gateway Bot"."""
URL: Final = "wss://gateway.discord.gg/"
"""The gateway, as that answer has it in the documentation."""

QUERY: Final[Mapping[str, str]] = MappingProxyType({"v": "10", "encoding": "json"})
"""GATEWAY, "Gateway URL Query String Params"; a resume must have the same."""

DISPATCH: Final = 0
HEARTBEAT: Final = 1
IDENTIFY: Final = 2
RESUME: Final = 6
RECONNECT: Final = 7
INVALID_SESSION: Final = 9
HELLO: Final = 10
HEARTBEAT_ACK: Final = 11
COMMANDS: Final[Mapping[int, str]] = MappingProxyType(
    {
        3: "Presence Update",
        4: "Voice State Update",
        8: "Request Guild Members",
        31: "Request Soundboard Sounds",
        43: "Request Channel Info",
    }
)
"""Opcodes that are the user's to send. All of them: CODES_PAGE, "Gateway Opcodes"."""

PAYLOAD: Final = 4096
"""Bytes that one payload of ours may have: GATEWAY, "Sending Events"."""
SENDS: Final = 120
SENDS_PER: Final = 60.0
"""Payloads that a connection may send in so many seconds: GATEWAY, "Rate Limiting". All count, heartbeats too:
https://github.com/discord/discord-api-docs/issues/315."""

IDENTIFIES: Final = 1000
IDENTIFIES_PER: Final = 86_400.0
"""Identifies of one bot in so many seconds, where REST does not tell another number; resumes do not count. Whoever hits
that limit loses all sessions and the token: GATEWAY, "Identifying"."""
CONCURRENCY_PER: Final = 5.0
"""Seconds in which `max_concurrency` identifies may begin, one for each shard id modulo `max_concurrency`: GATEWAY,
"Max Concurrency"."""
INVALID_WAIT: Final = (1.0, 5.0)
"""Seconds to wait, at random, before the identify after an invalid session. The pages of today name none; those of
https://github.com/discord/discord-api-docs up to 2022, docs/topics/Gateway.md, "Resuming", do."""
ENDS_SESSION: Final = (1000, 1001)
"""Close codes of ours that end the session: GATEWAY, "Initiating a Disconnect". It outlives all others, and a
connection that just ends, for a few minutes."""
LARGE: Final = (50, 250)
"""The least and the most of `large_threshold`: EVENTS, "Identify Structure"."""


class Code(NamedTuple):
    """A close code."""

    name: str
    meaning: str
    then: Literal["resume", "new", "stop"]
    """What follows: resume the session, begin a new one, or never come again."""
    ours: bool = True
    """It is something that we have done or said."""


CODES: Final[Mapping[int, Code]] = MappingProxyType(
    {  # CODES_PAGE, "Gateway Close Event Codes"
        4000: Code("unknown error", "Discord does not know what went wrong", "resume", ours=False),
        4001: Code("unknown opcode", "a payload had an opcode that is none, or that does not fit it", "resume"),
        4002: Code("decode error", "a payload could not be read, or had more than 4096 bytes", "resume"),
        4003: Code("not authenticated", "a payload came before the identify, or the session was over", "resume"),
        4004: Code("authentication failed", "the token is not that of a bot, or was reset", "stop"),
        4005: Code("already authenticated", "there was more than one identify", "resume"),
        4007: Code("invalid sequence", "the number sent in the resume is none of the session", "new", ours=False),
        4008: Code("rate limited", "more than 120 payloads came in a minute", "resume"),
        4009: Code("session timed out", "the session was left alone for too long", "new", ours=False),
        4010: Code("invalid shard", "see option 'shard'", "stop"),
        4011: Code("sharding required", "there are too many guilds for one connection; see option 'shard'", "stop"),
        4012: Code("invalid API version", "Discord no longer speaks the version of this plugin", "stop"),
        4013: Code("invalid intents", "option 'intents' has a bit that stands for nothing", "stop"),
        4014: Code(
            "disallowed intents",
            "option 'intents' has a privileged one that is not enabled for this application in the Developer Portal",
            "stop",
        ),
    }
)

INTENTS: Final[Mapping[str, int]] = MappingProxyType(
    {  # GATEWAY, "List of Intents"
        "GUILDS": 1 << 0,
        "GUILD_MEMBERS": 1 << 1,
        "GUILD_MODERATION": 1 << 2,
        "GUILD_EXPRESSIONS": 1 << 3,
        "GUILD_INTEGRATIONS": 1 << 4,
        "GUILD_WEBHOOKS": 1 << 5,
        "GUILD_INVITES": 1 << 6,
        "GUILD_VOICE_STATES": 1 << 7,
        "GUILD_PRESENCES": 1 << 8,
        "GUILD_MESSAGES": 1 << 9,
        "GUILD_MESSAGE_REACTIONS": 1 << 10,
        "GUILD_MESSAGE_TYPING": 1 << 11,
        "DIRECT_MESSAGES": 1 << 12,
        "DIRECT_MESSAGE_REACTIONS": 1 << 13,
        "DIRECT_MESSAGE_TYPING": 1 << 14,
        "MESSAGE_CONTENT": 1 << 15,
        "GUILD_SCHEDULED_EVENTS": 1 << 16,
        "AUTO_MODERATION_CONFIGURATION": 1 << 20,
        "AUTO_MODERATION_EXECUTION": 1 << 21,
        "GUILD_MESSAGE_POLLS": 1 << 24,
        "DIRECT_MESSAGE_POLLS": 1 << 25,
    }
)
PRIVILEGED: Final = INTENTS["GUILD_MEMBERS"] | INTENTS["GUILD_PRESENCES"] | INTENTS["MESSAGE_CONTENT"]
"""Those that must be enabled in the Developer Portal: GATEWAY, "Privileged Intents"."""
