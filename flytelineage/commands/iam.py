"""`flytelineage iam`: the policies that AWS needs for the configuration at hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from traitlets import Bool, List, TraitError, Unicode, validate

from flytelineage import permissions
from flytelineage.commands import Command, Program, say, say_lines
from flytelineage.errors import ConfigError
from flytelineage.permissions import Statement

if TYPE_CHECKING:
    from flytelineage.objects import ObjectReader
    from flytelineage.sources import Source
    from flytelineage.targets import Target

_NEEDED = {
    "topics": "FlyteLineage.topics",
    "account": "--account=123456789012",
    "publisher": "--publisher=arn:aws:iam::123456789012:role/NAME, FlyteAdmin's role",
}
"""What `--queue-policy` cannot do without, and what to type."""


class Iam(Command):
    """Prints the policy of the role that flytelineage runs as, and no right more.

    It follows from the options: the queue, what `ObjectReader.allow` lists, and what the
    targets do. Nothing is called. With --queue-policy it prints the policies of the queue and
    of its topics, too, which keep everybody but FlyteAdmin from writing lineage; it then
    needs `FlyteLineage.topics`. Hints go to standard error.
    """

    examples = """
        flytelineage iam --account=123456789012 > policy.json
        flytelineage iam --kms-key=arn:aws:kms:eu-central-1:123456789012:key/1a2b
        flytelineage iam --queue-policy --publisher=arn:aws:iam::123456789012:role/flyteadmin
    """

    account = Unicode(
        "",
        help="""
        The number of the account, for ARNs of which the configuration does not say it. Empty
        leaves `*` there, which is any account.

        Example: flytelineage iam --account=123456789012
        """,
    ).tag(config=True)

    kms_keys = List(
        Unicode(),
        help="""
        ARNs of the keys that encrypt the queue and the data, or of their aliases. Needed where
        these are keys of your own. Empty adds no right to decrypt.

        Example: flytelineage iam --kms-key=arn:aws:kms:eu-central-1:123456789012:key/1a2b
        """,
    ).tag(config=True)

    queue_policy = Bool(
        False,
        help="""
        Print the policies of the queue and of its topics, too.

        Example: flytelineage iam --queue-policy
        """,
    ).tag(config=True)

    publisher = Unicode(
        "",
        help="""
        The ARN of FlyteAdmin's role, the only one that may publish; for --queue-policy.

        Example: flytelineage iam --publisher=arn:aws:iam::123456789012:role/flyteadmin
        """,
    ).tag(config=True)

    aliases = {
        "account": ("Iam.account", "the account's number in ARNs; * by default"),
        "kms-key": ("Iam.kms_keys", "a key that encrypts queue or data; may be repeated"),
        "publisher": ("Iam.publisher", "the ARN of FlyteAdmin's role, for --queue-policy"),
    }
    flags = {
        "queue-policy": (
            {"Iam": {"queue_policy": True}},
            "print the policies of the queue and its topics, too",
        )
    }

    @validate("account")
    def _is_account(self, proposal: Mapping[str, Any]) -> str:
        return _matching(r"\d{12}", proposal["value"], "Iam.account is no account's number")

    @validate("publisher")
    def _is_role(self, proposal: Mapping[str, Any]) -> str:
        role = r"arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+"
        return _matching(role, proposal["value"], "Iam.publisher is no ARN of a role")

    @validate("kms_keys")
    def _are_keys(self, proposal: Mapping[str, Any]) -> list[str]:
        key = r"arn:aws[\w-]*:kms:[\w-]+:\d{12}:(?:key|alias)/[\w/-]+"
        return [_matching(key, one, "Iam.kms_keys: no ARN of a key") for one in proposal["value"]]

    def run(self, program: Program, arguments: Sequence[str]) -> int:
        """Print them."""
        self.none(arguments)
        from flytelineage.objects import ObjectReader

        reader = ObjectReader(parent=program)
        with closing(program.build_source()) as source:
            role = permissions.policy(self._role(program, source, reader))
            shown = {"role": role, **self._senders(program, source)} if self.queue_policy else role
        say_lines(json.dumps(shown, indent=2))
        for hint in self._hints(program, reader):
            say(f"note: {hint}", to_stderr=True)
        return 0

    def _role(self, program: Program, source: Source, reader: ObjectReader) -> Iterator[Statement]:
        """What the daemon does, statement by statement; each `Sid` once."""
        targets = program.build_targets().values()
        asked: list[Source | ObjectReader | Target] = [source, reader, *targets]
        found = [one for part in asked for one in part.permissions()]
        services = sorted({action.partition(":")[0] for one in found for action in one.actions})
        via = [service for service in services if service in ("s3", "sqs")]
        for key in self.kms_keys:
            found.append(permissions.of_key(key, ["Decrypt"], sid="Decrypt", via=via))
        yield from _named_apart(self._filled(found))

    def _senders(self, program: Program, source: Source) -> Mapping[str, Any]:
        """The policies of the queue and of the topics.

        Raises:
            ConfigError: Something they need is not said.
        """
        queues = [one for one in self._filled(source.permissions()) if one.sid == "Queue"]
        if not queues:
            raise ConfigError(f"{source.describe()} is no queue on AWS, so it has no policy")
        (queue,) = queues[0].resources
        known = {
            "topics": program.topics,
            "account": ":*:" not in queue,
            "publisher": self.publisher,
        }
        if missing := [_NEEDED[name] for name, value in known.items() if not value]:
            raise ConfigError(f"--queue-policy needs {', and '.join(missing)}")
        topics = {
            topic: permissions.policy(permissions.publishers(topic, self.publisher))
            for topic in program.topics
        }
        return {
            "queue": permissions.policy(permissions.senders(queue, program.topics)),
            "topics": topics,
        }

    def _filled(self, statements: Iterable[Statement]) -> list[Statement]:
        return [one.of_account(self.account) if self.account else one for one in statements]

    def _hints(self, program: Program, reader: ObjectReader) -> Iterator[str]:
        """What the configuration leaves wider, or may leave out."""
        if any(pattern.startswith("s3://*") for pattern in reader.allow):
            yield (
                "it reads every bucket: narrow ObjectReader.allow to Flyte's prefixes, such as "
                '["s3://flyte-bucket/metadata/*", "s3://flyte-bucket/data/*"]'
            )
        if not self.account:
            yield "`*` stands where the account is not known: --account=NUMBER fills it in"
        if not self.kms_keys:
            yield "where queue or data are encrypted with keys of your own, name each: --kms-key=ARN"
        if not program.topics:
            yield "FlyteLineage.topics is empty: whatever reaches the queue is taken"
        if self.queue_policy:
            yield "to redrive dead letters, take NobodyElseSends out of the queue's policy meanwhile"


def _matching(pattern: str, text: str, problem: str) -> str:
    if text and not re.fullmatch(pattern, text, re.ASCII):
        raise TraitError(f"{problem}: {text!r}")
    return text


def _named_apart(statements: Iterable[Statement]) -> Iterator[Statement]:
    """The same; a `Sid` that comes again gets a number, as AWS wants it."""
    seen: dict[str, int] = {}
    for one in statements:
        count = seen[one.sid] = seen.get(one.sid, 0) + 1
        yield one if count == 1 else one.renamed(f"{one.sid}{count}")
