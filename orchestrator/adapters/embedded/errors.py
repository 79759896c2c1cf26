"""What can go wrong with the servers of one machine; says what, with which value, and what to do next."""

from __future__ import annotations

from orchestrator.core.errors import PennyrouteError


class EmbeddedError(PennyrouteError):
    """Root of this room's errors; the text is written for the person who typed `pennyroute up`."""

    code = "embedded_failed"


class FolderNotWritable(EmbeddedError):
    """The data folder cannot be made or written."""

    code = "data_folder_not_writable"


class FolderInUse(EmbeddedError):
    """Another process holds the data folder's lock."""

    code = "data_folder_in_use"


class NotADataFolder(EmbeddedError):
    """The folder holds something, and it is not ours."""

    code = "not_a_data_folder"


class FolderTooNew(EmbeddedError):
    """The folder was written by a newer version of this program."""

    code = "data_folder_too_new"


class DiskFull(EmbeddedError):
    """Too little free space to run a database safely."""

    code = "disk_full"


class DataCorrupt(EmbeddedError):
    """A server's files in the data folder are damaged or of another version."""

    code = "data_corrupt"


class BinaryMissing(EmbeddedError):
    """No server program of the needed kind is installed."""

    code = "server_binary_missing"


class PortInUse(EmbeddedError):
    """A port that was asked for explicitly is taken."""

    code = "port_in_use"


class StartFailed(EmbeddedError):
    """A supervised process did not come up; the text carries its last log lines."""

    code = "start_failed"
