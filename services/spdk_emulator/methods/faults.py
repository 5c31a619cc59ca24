"""emulator_set_faults: the one method that SPDK does not have, so rpc_get_methods does not name it."""

from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc.params import Json
from spdk_emulator.rpc.table import SET_FAULTS, own_method


@own_method(SET_FAULTS)
def emulator_set_faults(emulator: Emulator, params: Json) -> Json:
    """The rules in force with their hits; those given replace the ones of before."""
    return emulator.faults.set(params)
