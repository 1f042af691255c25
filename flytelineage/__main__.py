"""`python -m flytelineage`, and the command `flytelineage`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the program, or say what to install: the distribution requires nothing."""
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


if __name__ == "__main__":
    sys.exit(main())
