"""`python -m flytelineage`, and the command `flytelineage`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the program, or say what to install: the distribution requires nothing."""
    # Process 1 of a container ignores signals that have no handler, and importing takes a
    # while. Whatever has more to do at a stop takes the signal over.
    signal.signal(signal.SIGTERM, _leave)
    try:
        from flytelineage.app import main as run
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "flytelineage":
            raise
        sys.stderr.write(
            f"flytelineage: error: {exc.name} is not installed. "
            "Type: pip install 'flytelineage[all]'\n"
        )
        return 1
    try:
        return run()
    finally:
        # All is done: now Ctrl-C could only disturb the interpreter's own clearing up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _leave(number: int, _: FrameType | None) -> None:
    """Stop before anything was begun; of a daemon that is as good as any other end."""
    is_command = len(sys.argv) > 1 and not sys.argv[1].startswith("-")
    os._exit(128 + number if is_command else 0)


if __name__ == "__main__":
    sys.exit(main())
