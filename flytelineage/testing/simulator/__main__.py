"""`python -m flytelineage.testing.simulator`: the samples as files.

Writes `messages.jsonl` for `flytelineage replay`, the objects of the executions below
`storage/`, and `truth.json`: one entry per execution.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from flytelineage.testing.simulator.samples import simulate_samples
from flytelineage.testing.simulator.storage import FolderStorage
from flytelineage.testing.simulator.stream import DELIVERIES, ENCODINGS, Stream

START = datetime(2026, 1, 5, 6, 0, tzinfo=timezone.utc)
"""A fixed moment, so that the same seed gives the same bytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the samples and say where."""
    options = _parser().parse_args(arguments)
    storage = FolderStorage(options.out / "storage")
    streams = simulate_samples(storage, start=options.start, seed=options.seed, fast=options.fast)
    bodies = [body for stream in streams for body in _bodies(stream, options)]
    lines = "".join(f"{line(body)}\n" for body in bodies)
    (options.out / "messages.jsonl").write_text(lines, encoding="utf-8")
    truths = [{"true": s.truth.as_json(), "guessed": s.guessed_truth.as_json()} for s in streams]
    truth = json.dumps(truths, indent=2) + "\n"
    (options.out / "truth.json").write_text(truth, encoding="utf-8")
    sys.stdout.write(f"{len(bodies)} messages of {len(streams)} executions in {options.out}\n")
    return 0


def line(body: str) -> str:
    """A body as one line of JSON: an envelope as an object, anything else as a text."""
    value = json.loads(body) if body.startswith("{") else body
    return json.dumps(value, separators=(",", ":"))


def _bodies(stream: Stream, options: argparse.Namespace) -> list[str]:
    if options.encoding == "mixed":
        return stream.shuffled(options.seed).mixed(options.seed)
    return stream.bodies(options.encoding, options.delivery)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flytelineage.testing.simulator",
        description="Write the events of sample workflows, their files, and the true lineage.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of names and durations (default 0)")
    parser.add_argument(
        "--start",
        type=_moment,
        default=START,
        help="when the first execution starts, ISO 8601 with a zone (default %(default)s)",
    )
    parser.add_argument(
        "--encoding",
        choices=[*ENCODINGS, "mixed"],
        default="raw",
        help="of the events; mixed: all of them, each message shuffled (default raw)",
    )
    parser.add_argument(
        "--delivery", choices=DELIVERIES, default="sns", help="with SNS's envelope or bare"
    )
    parser.add_argument("--fast", action="store_true", help="build literals without flytekit")
    return parser


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no time zone")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
