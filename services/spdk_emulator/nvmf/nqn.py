"""Which NQNs SPDK takes (lib/nvmf/subsystem.c, nvmf_nqn_is_valid)."""

import re
from uuid import UUID

NQN_MAX = 223  # bytes
DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
_UUID_PREFIX = "nqn.2014-08.org.nvmexpress:uuid:"
_LABEL = r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_GENERAL = re.compile(rf"nqn\.\d{{4}}-\d{{2}}\.{_LABEL}(?:\.{_LABEL})*:.+", re.ASCII | re.DOTALL)


def is_valid_nqn(nqn: str) -> bool:
    """Month 13 and blanks behind the colon are fine, capitals in front and underscores in the domain are not."""
    if len(nqn.encode()) > NQN_MAX:
        return False
    if nqn == DISCOVERY_NQN:
        return True
    if nqn.startswith(_UUID_PREFIX):
        return _is_uuid(nqn.removeprefix(_UUID_PREFIX))
    return bool(_GENERAL.fullmatch(nqn))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return len(text) == 36
