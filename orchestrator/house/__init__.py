"""Everything of one machine as one thing that starts, is supervised and stops: servers, API, workers, clock.

The second composition root beside `wiring`: that one opens doors inside a process, this one starts the processes.
"""

from orchestrator.adapters.embedded.cluster import CARRIER_FOLDERS
from orchestrator.adapters.embedded.errors import BinaryMissing
from orchestrator.adapters.embedded.ports import is_free, pick_free
from orchestrator.adapters.embedded.postgres import binaries as postgres_binaries
from orchestrator.adapters.embedded.process import ProcessSpec
from orchestrator.adapters.embedded.redis import find_server as find_redis_server
from orchestrator.adapters.embedded.supervisor import Event, EventKind, Supervisor
from orchestrator.adapters.health import available_memory_bytes
from orchestrator.house.programs import FLEETS, PYTHON, models_bytes, queue_memory_bytes
from orchestrator.house.running import HOUSE_FILE, House, Listener, UpOptions, running_house

__all__ = [
    "CARRIER_FOLDERS",
    "FLEETS",
    "HOUSE_FILE",
    "PYTHON",
    "BinaryMissing",
    "Event",
    "EventKind",
    "House",
    "Listener",
    "ProcessSpec",
    "Supervisor",
    "UpOptions",
    "available_memory_bytes",
    "find_redis_server",
    "is_free",
    "models_bytes",
    "pick_free",
    "postgres_binaries",
    "queue_memory_bytes",
    "running_house",
]
