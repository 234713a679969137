"""Asking a plugin: what it raises is either its verdict or its fault."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from .errors import LibwsError, PluginFailed

if TYPE_CHECKING:
    from .binding import Hook


def ask(hook: Hook, name: str, *args: Any) -> Any:
    """Ask one plugin a plain hook.

    Raises:
        LibwsError: the plugin's own.
        PluginFailed: it raised anything else.
    """
    try:
        return hook.call(*args)
    except LibwsError:
        raise
    except Exception as error:
        raise hook_failed(hook, name, error) from error


async def ask_async(hook: Hook, name: str, *args: Any) -> Any:
    """Ask one plugin a hook that may be `async def`; raises as `ask`, and our own cancellation."""
    try:
        answer = hook.call(*args)
        return await answer if inspect.isawaitable(answer) else answer
    except LibwsError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise hook_failed(hook, name, error) from error
    except Exception as error:
        raise hook_failed(hook, name, error) from error


def hook_failed(hook: Hook, name: str, error: BaseException) -> PluginFailed:
    """What becomes of an exception that a hook should not raise."""
    return PluginFailed(f"plugin {hook.plugin!r} failed in {name}: {type(error).__name__}: {error}")
