"""The XIDs of NVIDIA's driver that need a person, as plain data: how urgent each is, and why.

What does not live here: who alerts on them (`monitoring`), and the metrics that carry them (`catalog`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple


class Xid(NamedTuple):
    """What an XID code says: how urgent it is for a person, and why."""

    severity: Literal["critical", "warning"]
    text: str


XID_TEXT: Final[Mapping[int, Xid]] = MappingProxyType(
    {
        46: Xid("critical", "GPU stopped processing"),
        48: Xid("critical", "double-bit ECC error"),
        61: Xid("warning", "internal micro-controller breakpoint (Volta and older)"),
        62: Xid("critical", "internal micro-controller halted"),
        64: Xid("critical", "page retirement or row remapping could not be recorded"),
        74: Xid("critical", "NVLink error"),
        79: Xid("critical", "GPU has fallen off the bus"),
        94: Xid("warning", "contained ECC error: the applications that hit it must restart"),
        95: Xid("critical", "uncontained ECC error: the GPU must be reset"),
        109: Xid("warning", "context switch timed out: the GPU is to be reset"),
        110: Xid("critical", "security fault"),
        119: Xid("critical", "GSP does not answer (RPC timeout)"),
        120: Xid("critical", "GSP error"),
        136: Xid("critical", "NVLink could not be trained"),
        140: Xid("critical", "unrecovered ECC error: the GPU must be reset"),
        143: Xid("critical", "GPU could not be initialised"),
        156: Xid("warning", "a part of the GPU is retired at its next reset"),
        158: Xid("critical", "fatal timeout of the GPU"),
    }
)
"""XIDs that need a person; others are mostly the application's own faults.

Source: NVIDIA, "XID Errors", Xid Catalog (docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html): those whose
immediate action is RESET_GPU or RESTART_BM (46 62 64 79 95 109 110 119 120 136 140 143 156 158) or a workflow that may
lead there (48 74), and 94 (RESTART_APP, a reset when convenient); 61 is in the catalogue for Volta and older. 46 is
CRITICAL with drain and reset in NVIDIA's Health Validation (checks/xid), too. A warning is what may be the
application's own doing (109) or can wait until the GPU is free (94 156). Left out: 155 (NVLink going down as asked
counts), 144 to 150 (the code alone does not say whether it is fatal), 154 (what to do about another code).
"""
