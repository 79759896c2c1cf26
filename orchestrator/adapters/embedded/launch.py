"""Runs before every supervised program: sheds root, ties its life to its parent's, becomes it.

Started as a script (`python -I -S launch.py …`, which must take milliseconds), so it imports nothing of the
project; it never returns, and the program keeps its process id.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import struct
import sys
from pathlib import Path

# Linux <sched.h>, <linux/prctl.h>, <linux/capability.h>
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def main() -> None:
    args = _parse()
    if args.not_root is not None and os.geteuid() == 0:
        uid, _, gid = args.not_root.partition(":")
        _shed_root(int(uid), int(gid), args.own)
    if sys.platform == "linux":
        # After every change of user: the kernel forgets the death signal when credentials change.
        _prctl(PR_SET_PDEATHSIG, args.death_signal)
        if os.getppid() != args.parent:
            sys.exit(f"launch: the parent {args.parent} ended before {args.program[0]} began")
    try:
        os.execvpe(args.program[0], args.program, os.environ)  # noqa: S606 - a list, and no shell is the point
    except OSError as error:
        sys.exit(f"launch: {args.program[0]} cannot be started: {error.strerror}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True, help="process id whose end ends the program")
    parser.add_argument("--death-signal", type=int, required=True)
    parser.add_argument("--not-root", metavar="UID:GID", help="account to be when started as root")
    parser.add_argument("--own", type=Path, help="folder the program insists on owning")
    parser.add_argument("program", nargs="+")
    return parser.parse_args()


def _shed_root(uid: int, gid: int, folder: Path | None) -> None:
    """Postgres refuses to run as root: be `uid` in a user namespace, or, where those are denied, for real."""
    namespaces = _namespaces_work(uid, gid)
    owner = (0, 0) if namespaces else (uid, gid)
    if folder is not None and folder.exists() and folder.stat().st_uid != owner[0]:
        _give(folder, *owner)
    if namespaces:
        _enter_namespace(uid, gid)
    else:
        _become(uid, gid)


def _namespaces_work(uid: int, gid: int) -> bool:
    child = os.fork()
    if child == 0:
        try:
            _enter_namespace(uid, gid)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _enter_namespace(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1")


def _become(uid: int, gid: int) -> None:
    """Change to the account, keeping the right to walk root's folders (the data may lie under /root)."""
    _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    # A hardened container's root may not hold it: then it works wherever the account can reach the folder.
    with contextlib.suppress(OSError):
        _keep_capability(CAP_DAC_OVERRIDE)


def _keep_capability(capability: int) -> None:
    bit = 1 << capability
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; low half then high
    _call("capset", header, data)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _give(folder: Path, uid: int, gid: int) -> None:
    os.chown(folder, uid, gid)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(os.path.join(parent, name), uid, gid, follow_symlinks=False)


def _prctl(*arguments: int) -> None:
    _call("prctl", *(ctypes.c_ulong(argument) for argument in arguments))


def _call(function: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
