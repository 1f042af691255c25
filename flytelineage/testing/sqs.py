"""An SQS on loopback that fails on demand.

It speaks the AWS JSON 1.0 protocol to the real boto3, hides messages and shows them
again, counts receives and moves what was received too often to a dead-letter queue.
Its clock can be pushed ahead, and each operation can be made to fail by script:

```python
with SqsDouble() as sqs:
    queue = sqs.create_queue("flyte-events")
    queue.send(["first", "second"])
    sqs.script("ReceiveMessage", [Fault(code="OverLimit", status=403)])
    ...
    sqs.advance(31)  # what was received and not deleted comes again
    assert queue.deleted == 2
```

`python -m flytelineage.testing.sqs --queue flyte-events` serves it from a process of
its own. Left out, and ignored in requests: message attributes, delays, FIFO queues,
retention, permissions and signatures; but it knows which credentials are expired.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import random
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, islice
from typing import Any

ACCOUNT = "000000000000"
REGION = "us-east-1"
MAX_BODY_BYTES = 1024 * 1024
MAX_IN_FLIGHT = 120_000
SHUFFLE_WINDOW = 100
"""How far out of order a shuffled message can come."""

_KEY = re.compile(r"Credential=(?P<key>[^/]+)/")
_HANDLE = re.compile(r"(?P<id>[0-9a-f-]{36})#(?P<receives>\d+)")
_DEFAULT_ATTRIBUTES = {
    "VisibilityTimeout": "30",
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
}
_QUERY_CODES = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "KmsAccessDenied": "KMS.AccessDeniedException",
    "KmsThrottled": "KMS.ThrottlingException",
}
"""What AWS calls errors in `x-amzn-query-error`, where the name differs from the model."""


class SqsError(Exception):
    """What SQS answers instead of a result."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(message or code)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one call.

    Attributes:
        code: Answered as an error, and nothing is done.
        status: HTTP status of that error.
        drop: All is done, but the connection closes without an answer.
        fail_entries: Positions in a batch that are not done and reported as failed.
        delay_seconds: How much later the call is worked on, in real time.
        duplicate: Messages are handed out and stay visible.
        shuffle: Messages are handed out in random order.
    """

    code: str = ""
    status: int = 400
    drop: bool = False
    fail_entries: tuple[int, ...] = ()
    delay_seconds: float = 0.0
    duplicate: bool = False
    shuffle: bool = False


NO_FAULT = Fault()


@dataclass(eq=False, slots=True)
class _Stored:
    """A message in a queue; `visible_at` counts while it is hidden."""

    id: str
    body: str
    md5: str
    sent_at: float
    receives: int = 0
    first_received_at: float = 0.0
    visible_at: float = 0.0

    @property
    def handle(self) -> str:
        """The latest receipt handle: the only one that still deletes."""
        return f"{self.id}#{self.receives}"


def _no_queue() -> SqsError:
    return SqsError("QueueDoesNotExist", "The specified queue does not exist.")


class Queue:
    """One queue: what is visible, what is in flight, what was deleted.

    All methods may be called by any thread.

    Args:
        changed: Guards the queue, and wakes who waits for messages.
        dead_letters: Where a message goes that was received `max_receives` times.

    Attributes:
        received: How often messages were handed out, the same one again included.
        deleted: How many messages were deleted.
        gone: Whether the queue itself was deleted.
    """

    gone = False

    def __init__(
        self,
        name: str,
        attributes: Mapping[str, str],
        *,
        now: Callable[[], float],
        changed: threading.Condition,
        dead_letters: Queue | None = None,
        max_receives: int = 0,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.attributes = {**_DEFAULT_ATTRIBUTES, **attributes}
        self.received = 0
        self.deleted = 0
        self.dead_letters = dead_letters
        self._now = now
        self._changed = changed
        self._max_receives = max_receives
        self._random = random.Random(seed)  # noqa: S311 - disorder on demand, not a secret
        self._visible: OrderedDict[str, _Stored] = OrderedDict()
        self._hidden: dict[str, _Stored] = {}
        # When hidden messages come back; entries that no longer hold are skipped.
        self._returns: list[tuple[float, int, _Stored]] = []
        self._numbers = count()

    @property
    def arn(self) -> str:
        """The queue's Amazon resource name."""
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.name}"

    @property
    def visible(self) -> int:
        """How many messages could be received now."""
        with self._changed:
            self._show_again()
            return len(self._visible)

    @property
    def in_flight(self) -> int:
        """How many messages were received and are neither deleted nor back."""
        with self._changed:
            self._show_again()
            return len(self._hidden)

    @property
    def bodies(self) -> list[str]:
        """What was not deleted: visible first, then in flight."""
        with self._changed:
            self._show_again()
            return [one.body for one in (*self._visible.values(), *self._hidden.values())]

    def send(self, bodies: Iterable[str]) -> list[str]:
        """Put messages in, in this order.

        Returns:
            Their ids.
        """
        with self._changed:
            sent = [self._add(body) for body in bodies]
            self._changed.notify_all()
        return [message.id for message in sent]

    def _add(self, body: str) -> _Stored:
        content = body.encode()
        if not content:
            raise SqsError("MissingParameter", "The request must contain a MessageBody")
        if len(content) > MAX_BODY_BYTES:
            raise SqsError("InvalidParameterValue", "One or more parameters are invalid")
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        message = _Stored(str(uuid.uuid4()), body, md5, self._now())
        self._visible[message.id] = message
        return message

    def receive(
        self,
        limit: int,
        *,
        wait_seconds: float = 0.0,
        visibility_seconds: float | None = None,
        fault: Fault = NO_FAULT,
        stopped: Callable[[], bool] = lambda: False,
    ) -> list[dict[str, Any]]:
        """Hand out up to `limit` messages as SQS words them, waiting for the first."""
        if visibility_seconds is None:
            visibility_seconds = float(self.attributes["VisibilityTimeout"])
        with self._changed:
            ends_at = self._now() + wait_seconds
            while True:
                if self.gone:
                    raise _no_queue()
                taken = self._take(limit, visibility_seconds, fault)
                left = ends_at - self._now()
                if taken or left <= 0 or stopped():
                    return taken
                self._changed.wait(min(left, self._next_return()))

    def _take(self, limit: int, visibility_seconds: float, fault: Fault) -> list[dict[str, Any]]:
        self._show_again()
        if len(self._hidden) >= MAX_IN_FLIGHT:
            raise SqsError("OverLimit", "Too many messages are in flight", 403)
        taken: list[_Stored] = []
        while self._visible and len(taken) < limit:
            message = self._next(fault)
            if self.dead_letters is not None and message.receives >= self._max_receives:
                self.dead_letters._visible[message.id] = message
                self._changed.notify_all()
            else:
                self._hide(message, visibility_seconds)
                taken.append(message)
        if fault.duplicate:
            for message in taken:
                self._visible[message.id] = self._hidden.pop(message.id)
        return [self._hand_out(message) for message in taken]

    def _next(self, fault: Fault) -> _Stored:
        if not fault.shuffle:
            return self._visible.popitem(last=False)[1]
        window = list(islice(self._visible, SHUFFLE_WINDOW))
        return self._visible.pop(self._random.choice(window))

    def _hand_out(self, message: _Stored) -> dict[str, Any]:
        self.received += 1
        message.receives += 1
        message.first_received_at = message.first_received_at or self._now()
        return {
            "MessageId": message.id,
            "ReceiptHandle": message.handle,
            "Body": message.body,
            "MD5OfBody": message.md5,
            "Attributes": {
                "ApproximateReceiveCount": str(message.receives),
                "ApproximateFirstReceiveTimestamp": str(int(message.first_received_at * 1000)),
                "SentTimestamp": str(int(message.sent_at * 1000)),
                "SenderId": ACCOUNT,
            },
        }

    def delete(self, handle: str) -> None:
        """Forget a message; with an outdated handle nothing happens, as on AWS."""
        with self._changed:
            message = self._find(handle)
            if message is None:
                return
            self._hidden.pop(message.id, None)
            self._visible.pop(message.id, None)
            self.deleted += 1

    def change_visibility(self, handle: str, seconds: float) -> None:
        """Hide a message for so long from now on; 0 shows it at once."""
        with self._changed:
            self._show_again()
            message = self._find(handle)
            if message is None or message.id not in self._hidden:
                raise SqsError("MessageNotInflight", "The message is not in flight")
            self._hide(message, seconds)
            self._changed.notify_all()

    def purge(self) -> None:
        """Forget all messages, those in flight too."""
        with self._changed:
            self._visible.clear()
            self._hidden.clear()

    def redrive(self, to: Queue) -> int:
        """Move what is visible to another queue, as new messages sent long ago.

        Returns:
            How many were moved.
        """
        with self._changed:
            self._show_again()
            moved = list(self._visible.values())
            self._visible.clear()
            for message in moved:
                new = _Stored(str(uuid.uuid4()), message.body, message.md5, message.sent_at)
                to._visible[new.id] = new
            self._changed.notify_all()
        return len(moved)

    def close(self) -> None:
        """Be deleted: forget everything, and send away who waits for messages."""
        with self._changed:
            self.gone = True
            self.purge()
            self._changed.notify_all()

    def _find(self, handle: str) -> _Stored | None:
        match = _HANDLE.fullmatch(handle)
        if match is None:
            raise SqsError("ReceiptHandleIsInvalid", "The receipt handle is not one", 404)
        message = self._hidden.get(match["id"]) or self._visible.get(match["id"])
        return message if message is not None and message.handle == handle else None

    def _hide(self, message: _Stored, seconds: float) -> None:
        message.visible_at = self._now() + seconds
        self._hidden[message.id] = message
        heapq.heappush(self._returns, (message.visible_at, next(self._numbers), message))

    def _show_again(self) -> None:
        """Make visible whose time has come."""
        now = self._now()
        while self._returns and self._returns[0][0] <= now:
            visible_at, _, message = heapq.heappop(self._returns)
            if message.id in self._hidden and message.visible_at == visible_at:
                self._visible[message.id] = self._hidden.pop(message.id)

    def _next_return(self) -> float:
        """Seconds until a hidden message may come back."""
        return self._returns[0][0] - self._now() if self._returns else threading.TIMEOUT_MAX


class SqsDouble:
    """A running SQS: start it with `with`, and point boto3 at `url`.

    Args:
        port: 0 takes a free one.
        latency: Seconds that each call takes, as a network does.
        clock: Seconds since 1970; `advance` adds to it. With a clock that stands still
            a long poll lasts until `advance` has passed its end.
        seed: Makes shuffled orders repeatable.

    Attributes:
        calls: How often each operation was called.
        keys: How often each access key signed a call.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        latency: float = 0.0,
        clock: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.latency = latency
        self._clock = clock
        self._seed = seed
        self._ahead = 0.0
        self._queues: dict[str, Queue] = {}
        self._scripts: dict[str, Iterator[Fault | None]] = {}
        self._expired: set[str] = set()
        self._changed = threading.Condition(threading.RLock())
        self._closed = False
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> SqsDouble:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End long polls, close connections and stop listening."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.disconnect()
        self._server.server_close()

    @property
    def url(self) -> str:
        """What `AWS_ENDPOINT_URL` should say."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that lead boto3 here and nowhere else."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "double",
            "AWS_SECRET_ACCESS_KEY": "double",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def now(self) -> float:
        """The time of this SQS, in seconds since 1970."""
        return self._clock() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        with self._changed:
            self._ahead += seconds
            self._changed.notify_all()

    def script(self, operation: str, faults: Iterable[Fault | None]) -> None:
        """Say what happens to the next calls of an operation, one by one.

        Args:
            operation: As SQS calls it, e.g. `DeleteMessageBatch`.
            faults: `None` lets a call pass, and so does the end of the script;
                `itertools.repeat(Fault(...))` never ends.
        """
        with self._changed:
            self._scripts[operation] = iter(faults)

    def create_queue(self, name: str, attributes: Mapping[str, str] | None = None) -> Queue:
        """The queue of this name; made with these attributes if there is none yet."""
        attributes = attributes or {}
        with self._changed:
            if name not in self._queues:
                redrive = json.loads(attributes.get("RedrivePolicy", "{}"))
                dead_letters = redrive.get("deadLetterTargetArn", "").rpartition(":")[2]
                self._queues[name] = Queue(
                    name,
                    attributes,
                    now=self.now,
                    changed=self._changed,
                    dead_letters=self.queue(dead_letters) if dead_letters else None,
                    max_receives=int(redrive.get("maxReceiveCount", 0)),
                    seed=self._seed,
                )
            return self._queues[name]

    def queue(self, name: str) -> Queue:
        """The queue of this name.

        Raises:
            SqsError: There is none.
        """
        with self._changed:
            if name not in self._queues:
                raise _no_queue()
            return self._queues[name]

    def delete_queue(self, name: str) -> None:
        """Forget a queue and its messages; one that is made anew knows nothing of them."""
        with self._changed:
            self.queue(name).close()
            del self._queues[name]

    def expire(self, key: str) -> None:
        """Refuse from now on what this access key signed."""
        self._expired.add(key)

    def queue_url(self, name: str) -> str:
        """What `GetQueueUrl` answers."""
        return f"{self.url}/{ACCOUNT}/{name}"

    def begin(self, operation: str, authorization: str = "") -> Fault:
        """Count a call and look up what goes wrong with it."""
        signed = _KEY.search(authorization)
        with self._changed:
            self.calls[operation] += 1
            if signed:
                self.keys[signed["key"]] += 1
                if signed["key"] in self._expired:
                    return Fault(code="ExpiredToken", status=403)
            return next(self._scripts.get(operation, iter(())), None) or NO_FAULT

    def perform(self, operation: str, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        """Do what a request asks for.

        Raises:
            SqsError: It cannot be done, or the script forbids it.
        """
        if fault.code:
            raise SqsError(fault.code, "Because the test says so", fault.status)
        perform = _OPERATIONS.get(operation)
        if perform is None:
            raise SqsError("InvalidAction", f"The action {operation} is not known to the double")
        return perform(self, request, fault)

    def _queue_of(self, request: Mapping[str, Any]) -> Queue:
        return self.queue(request["QueueUrl"].rpartition("/")[2])

    def _create_queue(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        queue = self.create_queue(request["QueueName"], request.get("Attributes"))
        return {"QueueUrl": self.queue_url(queue.name)}

    def _get_queue_url(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        return {"QueueUrl": self.queue_url(self.queue(request["QueueName"]).name)}

    def _get_queue_attributes(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        queue = self._queue_of(request)
        known = {
            **queue.attributes,
            "QueueArn": queue.arn,
            "ApproximateNumberOfMessages": str(queue.visible),
            "ApproximateNumberOfMessagesNotVisible": str(queue.in_flight),
        }
        asked = request.get("AttributeNames", [])
        return {"Attributes": {k: v for k, v in known.items() if "All" in asked or k in asked}}

    def _send_message(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        return self._send(self._queue_of(request), request)

    def _send_message_batch(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        queue = self._queue_of(request)
        if sum(len(entry["MessageBody"].encode()) for entry in request["Entries"]) > MAX_BODY_BYTES:
            raise SqsError("BatchRequestTooLong", "The batch is longer than 1 MiB")
        return _batch(request, fault, lambda entry: self._send(queue, entry))

    @staticmethod
    def _send(queue: Queue, request: Mapping[str, Any]) -> dict[str, Any]:
        body = request["MessageBody"]
        (message_id,) = queue.send([body])
        md5 = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        return {"MessageId": message_id, "MD5OfMessageBody": md5}

    def _receive_message(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        queue = self._queue_of(request)
        default_wait = queue.attributes["ReceiveMessageWaitTimeSeconds"]
        wait_seconds = float(request.get("WaitTimeSeconds", default_wait))
        limit = request.get("MaxNumberOfMessages", 1)
        if not (0 <= wait_seconds <= 20 and 1 <= limit <= 10):
            raise SqsError("InvalidParameterValue", "Out of range")
        messages = queue.receive(
            limit,
            wait_seconds=wait_seconds,
            visibility_seconds=request.get("VisibilityTimeout"),
            fault=fault,
            stopped=lambda: self._closed,
        )
        asked = request.get("MessageSystemAttributeNames", request.get("AttributeNames", []))
        for message in messages:
            known = message.pop("Attributes")
            message["Attributes"] = {k: v for k, v in known.items() if "All" in asked or k in asked}
        return {"Messages": messages} if messages else {}

    def _delete_message(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        self._queue_of(request).delete(request["ReceiptHandle"])
        return {}

    def _delete_message_batch(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        queue = self._queue_of(request)
        return _batch(request, fault, lambda entry: queue.delete(entry["ReceiptHandle"]))

    def _change_visibility(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        queue = self._queue_of(request)
        queue.change_visibility(request["ReceiptHandle"], request["VisibilityTimeout"])
        return {}

    def _change_visibility_batch(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        queue = self._queue_of(request)
        return _batch(
            request,
            fault,
            lambda entry: queue.change_visibility(
                entry["ReceiptHandle"], entry.get("VisibilityTimeout", 0)
            ),
        )

    def _delete_queue(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        self.delete_queue(self._queue_of(request).name)
        return {}

    def _start_move(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        """Move dead letters back to where they came from, or to a queue that is named."""
        dead = self.queue(request["SourceArn"].rpartition(":")[2])
        named = request.get("DestinationArn", "").rpartition(":")[2]
        with self._changed:
            sources = [one for one in self._queues.values() if one.dead_letters is dead]
        dead.redrive(self.queue(named) if named else sources[0])
        return {"TaskHandle": str(uuid.uuid4())}

    def _purge_queue(self, request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        self._queue_of(request).purge()
        return {}


_OPERATIONS: Mapping[str, Callable[[SqsDouble, Mapping[str, Any], Fault], dict[str, Any]]] = {
    "CreateQueue": SqsDouble._create_queue,
    "DeleteQueue": SqsDouble._delete_queue,
    "GetQueueUrl": SqsDouble._get_queue_url,
    "GetQueueAttributes": SqsDouble._get_queue_attributes,
    "SendMessage": SqsDouble._send_message,
    "SendMessageBatch": SqsDouble._send_message_batch,
    "ReceiveMessage": SqsDouble._receive_message,
    "DeleteMessage": SqsDouble._delete_message,
    "DeleteMessageBatch": SqsDouble._delete_message_batch,
    "ChangeMessageVisibility": SqsDouble._change_visibility,
    "ChangeMessageVisibilityBatch": SqsDouble._change_visibility_batch,
    "PurgeQueue": SqsDouble._purge_queue,
    "StartMessageMoveTask": SqsDouble._start_move,
}


def _batch(
    request: Mapping[str, Any],
    fault: Fault,
    act: Callable[[Mapping[str, Any]], dict[str, Any] | None],
) -> dict[str, Any]:
    """Do something for each entry; one that fails leaves the others alone."""
    entries = request["Entries"]
    if not entries:
        raise SqsError("EmptyBatchRequest", "There should be at least one entry")
    if len(entries) > 10:
        raise SqsError("TooManyEntriesInBatchRequest", "The maximum is 10 entries")
    if len({entry["Id"] for entry in entries}) < len(entries):
        raise SqsError("BatchEntryIdsNotDistinct", "An id stands twice")
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for position, entry in enumerate(entries):
        try:
            if position in fault.fail_entries:
                raise SqsError("InternalError", "Because the script says so", 500)
            done.append({"Id": entry["Id"], **(act(entry) or {})})
        except SqsError as exc:
            by_sender = exc.status < 500
            failed.append(
                {"Id": entry["Id"], "SenderFault": by_sender, "Code": exc.code, "Message": str(exc)}
            )
    return {"Successful": done, "Failed": failed}


class _Server(ThreadingHTTPServer):
    """Remembers its connections: clients keep them open, and `disconnect` ends them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], double: SqsDouble) -> None:
        self.double = double
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client may go away
            super().handle_error(request, client_address)

    def disconnect(self) -> None:
        """Wake the threads that wait for a next request on a connection."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Speaks AWS JSON 1.0 over connections that are kept."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet per answer
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        double = self.server.double
        operation = self.headers.get("X-Amz-Target", "").removeprefix("AmazonSQS.")
        fault = double.begin(operation, self.headers.get("Authorization", ""))
        if pause := double.latency + fault.delay_seconds:
            time.sleep(pause)
        try:
            answer, error = double.perform(operation, json.loads(body), fault), None
        except SqsError as exc:
            answer, error = {"__type": f"com.amazonaws.sqs#{exc.code}", "message": str(exc)}, exc
        if fault.drop:
            self.close_connection = True
            return
        self._answer(answer, error)

    def _answer(self, answer: Mapping[str, Any], error: SqsError | None) -> None:
        content = json.dumps(answer).encode()
        self.send_response_only(error.status if error else 200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        if error:
            party = "Sender" if error.status < 500 else "Receiver"
            code = _QUERY_CODES.get(error.code, error.code)
            self.send_header("x-amzn-query-error", f"{code};{party}")
        self.end_headers()
        self.wfile.write(content)


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; the first line of output is the URL."""
    parser = argparse.ArgumentParser(prog="python -m flytelineage.testing.sqs")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds per call")
    parser.add_argument("--queue", action="append", default=[], help="a queue to create")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with SqsDouble(port=options.port, latency=options.latency) as sqs:
        for name in options.queue:
            sqs.create_queue(name)
        sys.stdout.write(sqs.url + "\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
