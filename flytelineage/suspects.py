"""Tries in a child process whether decoding a message kills a process.

A message that kills the process comes again, kills the next one, and so holds up all
others. Whoever meets one that came too often asks here first: a child decodes it, within
limits of time and memory, and if somebody dies of it, it is the child.

The child is a fresh interpreter and no fork, since a fork of a process with threads may
stand still; and it inherits no credentials.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flytelineage.errors import SourceError
from flytelineage.events import decode

CPU_SECONDS = 10
"""What decoding one body may take; the largest that SQS carries takes milliseconds."""

WALL_SECONDS = 60.0
"""How long a child may live, start included: what waits uses no CPU."""

MEMORY_BYTES = 256 * 1024 * 1024
"""What the child may allocate: more than any sound body needs, less than a container has."""

_STARTED = "started"
_DECODED = "decoded"
_OUT_OF_MEMORY = 75

_INHERITED = ("PATH", "PYTHON", "LANG", "LC_", "LD_", "PROTOCOL_BUFFERS_")
"""How variables begin that an interpreter may need to start; none is a secret."""

_one_child = threading.Lock()
"""Several children at once could take the memory that the process itself needs."""


def lethal(
    bodies: Sequence[str], *, instance: str = "", topics: Collection[str] = ()
) -> list[str | None]:
    """Find the bodies that kill a process which decodes them.

    Args:
        bodies: As they came; those of one `receive`.
        instance: As `decode` takes it.
        topics: As `decode` takes it.

    Returns:
        For each body the reason not to decode it here; `None` where that is safe, which
        does not mean that it is an event.

    Raises:
        SourceError: No child could be started; nothing is known of the bodies.
    """
    reasons: list[str | None] = []
    task = {
        "options": {"instance": instance, "topics": list(topics)},
        "cpu_seconds": CPU_SECONDS,
        "memory_bytes": MEMORY_BYTES,
    }
    while len(reasons) < len(bodies):
        left = list(bodies[len(reasons) :])
        with _one_child:
            survived, reason = _try({**task, "bodies": left})
        reasons.extend([None] * survived)
        if survived < len(left):
            reasons.append(reason)
    return reasons


def _try(task: Mapping[str, object]) -> tuple[int, str]:
    """Let one child decode until it is done or dead.

    Returns:
        How many bodies it survived, and what it died of.
    """
    try:
        child = _run(task)
    except subprocess.TimeoutExpired as exc:
        said, why = exc.stdout or b"", f"takes more than {WALL_SECONDS:.0f} s"
        complaint = why
    except OSError as exc:
        said, why, complaint = b"", "", str(exc)
    else:
        said, why = child.stdout, _died_of(child.returncode)
        complaint = child.stderr.decode(errors="replace").strip().rpartition("\n")[2] or why
    words = said.decode().split()
    if _STARTED not in words:
        raise SourceError(
            "No child process could be started to look at messages that were received too often; "
            f"they come again ({complaint})"
        )
    return words.count(_DECODED), f"Not decoded, since that {why}"


def _run(task: Mapping[str, object]) -> subprocess.CompletedProcess[bytes]:
    """Start a child and wait for its end."""
    return subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", __name__],
        input=json.dumps(task).encode(),
        capture_output=True,
        timeout=WALL_SECONDS,
        check=False,
        env={name: value for name, value in os.environ.items() if name.startswith(_INHERITED)},
        # Where this package was found: `-m` looks there first.
        cwd=Path(__file__).parent.parent,
        # Ctrl-C in a terminal is not meant for the child: it would look like its death.
        start_new_session=True,
    )


def _died_of(status: int) -> str:
    """What a body does to a process, by the status that the process ended with."""
    if status == -signal.SIGXCPU:
        return f"takes more than {CPU_SECONDS} s"
    if status == _OUT_OF_MEMORY:
        return f"takes more than {MEMORY_BYTES // 1024**2} MiB of memory"
    if status < 0:
        return f"kills the process ({signal.strsignal(-status)})"
    return f"ends the process (exit status {status})"


# --------------------------------------------------------------------- in the child


def _main() -> None:
    """Decode what standard input holds; tell after each body that we are alive."""
    task = json.load(sys.stdin)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, task["memory_bytes"])
    _say(_STARTED)
    for body in task["bodies"]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        # It counts whole seconds of the whole process.
        _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + task["cpu_seconds"])
        _decode(body, task["options"])
        _say(_DECODED)


def _decode(body: str, options: Mapping[str, Any]) -> None:
    try:
        decode(body, received_at=datetime.now(timezone.utc), **options)
    except MemoryError:
        # At once: without memory there may be no orderly end.
        os._exit(_OUT_OF_MEMORY)
    except Exception:
        return  # the caller meets it too, and survives it as well


def _limit(what: int, amount: int) -> None:
    """Lower a limit of this process, where the system knows it."""
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (amount, resource.getrlimit(what)[1]))


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main()
