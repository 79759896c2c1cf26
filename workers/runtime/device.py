"""Which device models are loaded on: the GPU when its driver answers, else the CPU; it imports no model library."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

CPU, CUDA = "cpu", "cuda"
DEVICES = ("auto", CPU, CUDA)
_CUDA_SUCCESS = 0


def chosen_device(wanted: str = "auto") -> str:
    """`cpu` or `cuda`. `auto` asks the driver, which takes milliseconds; asking torch would cost a second of import in
    a worker that may never need it. Whether a library can use the device is seen when a model is loaded: the runtime
    then takes the CPU. Raises ValueError for another word."""
    if wanted not in DEVICES:
        raise ValueError(f"no device {wanted!r}; it is one of {', '.join(DEVICES)}")
    if wanted != "auto":
        return wanted
    return CUDA if cuda_devices() else CPU


def cuda_devices(driver: str = "libcuda.so.1") -> int:
    """How many GPUs the NVIDIA driver sees (CUDA_VISIBLE_DEVICES counts); 0 without a driver."""
    try:
        cuda = ctypes.CDLL(driver)
        count = ctypes.c_int(0)
        if cuda.cuInit(0) != _CUDA_SUCCESS or cuda.cuDeviceGetCount(ctypes.byref(count)) != _CUDA_SUCCESS:
            return 0
    except (OSError, AttributeError):  # no such library, or not that library
        return 0
    return count.value
