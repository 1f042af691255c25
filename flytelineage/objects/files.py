"""Reads local files, where the operator lists them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import BinaryIO

from flytelineage.errors import ReadError
from flytelineage.objects.opener import Stat, Tail, about, check_size
from flytelineage.objects.places import Place


class Files:
    """Reads local files: regular ones only, since a pipe would wait for ever."""

    def get(self, place: Place, part: slice | None, limit: int) -> Tail:
        """Read all or a part of a file."""
        with _file_errors(place), _opened(place) as (file, found), about(place):
            start, stop, _ = (part or slice(None)).indices(found.st_size)
            check_size(stop - start, limit)
            file.seek(start)
            return Tail(file.read(stop - start), found.st_size, str(found.st_mtime_ns))

    def stat(self, place: Place) -> Stat:
        """Size and time of a file."""
        with _file_errors(place), _opened(place) as (_, found):
            return Stat(found.st_size, datetime.fromtimestamp(found.st_mtime, timezone.utc))

    def page(
        self, place: Place, limit: int, following: str
    ) -> tuple[list[tuple[str, int]], str | None]:
        """Files below a folder, all in one page."""
        objects: list[tuple[str, int]] = []
        with _file_errors(place):
            for path in _files_below(f"/{place.key}"):
                if len(objects) == limit:
                    return objects, path
                objects.append((f"file://{path}", os.lstat(path).st_size))
        return objects, None

    def close(self) -> None:
        """Files are closed as soon as they are read."""


def _files_below(folder: str) -> Iterator[str]:
    """Files below a folder in a stable order; links are neither shown nor followed."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for path in (os.path.join(parent, name) for name in sorted(names)):
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


@contextmanager
def _opened(place: Place) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    # The path was followed before it was compared with what is allowed: a link that
    # stands there now came in between.
    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)

    with open(f"/{place.key}", "rb", opener=opener) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ReadError("unreadable", f"{place}: this is not a regular file")
        yield file, found


@contextmanager
def _file_errors(place: Place) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        raise ReadError("missing", f"{place}: there is no such file") from exc
    except PermissionError as exc:
        raise ReadError("denied", f"{place}: this user may not read it") from exc
    except OSError as exc:
        raise ReadError("unavailable", f"{place}: {exc.strerror}") from exc
