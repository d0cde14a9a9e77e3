"""Ties a process to the one that starts it: `python tether.py PARENT_PID COMMAND...` becomes COMMAND, and the kernel
kills it when its parent dies in whatever way (Linux), so that a `kill -9` of the supervisor leaves nothing behind.

Run as a script without site packages: it costs some 20 ms and, unlike a `preexec_fn`, is safe beside threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tethered(command: list[str]) -> list[str]:
    """The command line that runs `command` tied to this process."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), *command]  # noqa: PTH100


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
