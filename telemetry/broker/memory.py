"""Does the queue fit into the server? The check of `maxmemory` and its policy, as sentences with a remedy.

What lives here: the arithmetic and the wording. It only reads INFO.
"""

from collections.abc import Callable
from typing import Any

from telemetry.broker.errors import BrokerError, BrokerUnavailable

OVERHEAD = 1.25  # what the server needs beside payloads: nodes, hashes, buffers of clients


def budget_warnings(command: Callable[..., Any], *, capacity: int, max_bytes: int, dead_capacity: int = 0) -> list[str]:
    """Sentences about what would go wrong; `command` runs one Redis command.

    Raises:
        BrokerUnavailable: the server cannot be reached.
    """
    try:
        facts = facts_of(command("INFO", "memory"))
    except BrokerUnavailable:
        raise
    except BrokerError:
        return []  # a managed server that hides INFO
    need = int((capacity + dead_capacity) * max_bytes * OVERHEAD)
    wanted = capacity + dead_capacity
    limit = int(facts.get("maxmemory", 0) or 0)
    room = int(limit / max_bytes / OVERHEAD)  # messages and letters together
    policy = str(facts.get("maxmemory_policy", "noeviction"))
    warnings = []
    if policy != "noeviction":
        warnings.append(
            f"maxmemory-policy is {policy}: under pressure the server would throw away the whole queue; "
            "set it to noeviction (CONFIG SET maxmemory-policy noeviction)."
        )
    if limit and limit < need:
        warnings.append(
            f"maxmemory is {_mib(limit)} but a full queue may need {_mib(need)} ({capacity} messages "
            f"{f'and {dead_capacity} dead letters ' if dead_capacity else ''}of up to {_mib(max_bytes)}, and a quarter "
            f"for overhead): raise maxmemory, or lower the capacity to {max(1, room * capacity // wanted)}"
            f"{f' and that of dead letters to {max(1, room * dead_capacity // wanted)}' if dead_capacity else ''}."
        )
    return warnings


def facts_of(info: Any) -> dict[str, Any]:
    """INFO as a dictionary, whether the driver parsed it or not."""
    if isinstance(info, dict):
        return info
    text = info.decode() if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
