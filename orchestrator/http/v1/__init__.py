"""Other APIs' endpoints as faces of `/route`: their bodies in, their shapes out, their errors; no rule of its own."""
