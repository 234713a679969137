"""Whether what a client sends is what it sent when it was recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from libws_core import Message
from libws_record.redaction import MARK

__all__ = ["difference"]


def difference(sent: Message, recorded: Message, vary: Collection[str]) -> str | None:
    """What differs, None if nothing does. It quotes neither, since both may hold a secret.

    Two texts of JSON are compared by what they say. Where the recording has a secret taken out, anything fits.

    Args:
        vary: keys whose values may differ.
    """
    if sent.kind is not recorded.kind:
        return f"it is a {sent.kind.name}, not a {recorded.kind.name}"
    if sent.data == recorded.data:
        return None
    if isinstance(sent.data, str):
        try:
            return _differs(sent.json, recorded.json, vary, "")
        except ValueError:
            pass
        return None if _fits(sent.data, recorded.data) else "its text is another"
    mine, theirs = (bytes(message.data).decode("latin-1") for message in (sent, recorded))
    return None if _fits(mine, theirs) else "its bytes are others"


def _differs(sent: Any, recorded: Any, vary: Collection[str], where: str) -> str | None:
    at = f"at {where}: " if where else ""
    if isinstance(recorded, Mapping) and isinstance(sent, Mapping):
        for key in [*recorded, *(key for key in sent if key not in recorded)]:
            if key in vary:
                continue
            path = f"{where}.{key}" if where else str(key)
            if key not in sent or key not in recorded:
                return f"{path} is {'missing' if key not in sent else 'new'}"
            found = _differs(sent[key], recorded[key], vary, path)
            if found:
                return found
        return None
    if isinstance(recorded, list) and isinstance(sent, list):
        if len(recorded) != len(sent):
            return f"{at}{len(sent)} items, not {len(recorded)}"
        for place, (mine, theirs) in enumerate(zip(sent, recorded, strict=True)):
            found = _differs(mine, theirs, vary, f"{where}[{place}]")
            if found:
                return found
        return None
    if isinstance(recorded, str) and isinstance(sent, str):
        return None if _fits(sent, recorded) else f"{at}another text"
    if type(recorded) is type(sent) and recorded == sent:
        return None
    if isinstance(recorded, (int, float)) and isinstance(sent, (int, float)) and recorded == sent:
        return None
    return f"{at}another value"


def _fits(sent: str, recorded: str) -> bool:
    if sent == recorded:
        return True
    if MARK not in recorded:
        return False
    pieces = recorded.split(MARK)
    if not sent.startswith(pieces[0]):
        return False
    place = len(pieces[0])
    for piece in pieces[1:-1]:
        found = sent.find(piece, place)
        if found < 0:
            return False
        place = found + len(piece)
    return len(sent) - place >= len(pieces[-1]) and sent.endswith(pieces[-1])
