"""Imports flytekit without what that does to a process.

Imported in the main thread, flytekit takes Ctrl-C for itself and exits; anywhere, it
replaces the hook for uncaught exceptions and logs to stdout, where results belong. And
gRPC writes a line to stderr whenever a server says goodbye.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from flytelineage.errors import ConfigError

_CONNECTION = "flytelineage.flyteadmin.connection"
_LOGGERS = ("flytekit", "user_space", "developer")
_lock = threading.Lock()


def connection_module() -> Any:
    """The module that speaks to FlyteAdmin.

    Raises:
        ConfigError: flytekit is not installed.
    """
    with _lock:
        if _CONNECTION not in sys.modules:
            _import()
    return sys.modules[_CONNECTION]


def _import() -> None:
    hook = sys.excepthook
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="import-flytekit") as thread:
            thread.submit(import_module, _CONNECTION).result()
    except ImportError as exc:
        raise ConfigError(
            f"FlyteAdmin cannot be asked without flytekit ({exc.name or exc} is missing): type "
            "pip install 'flytelineage[flyteadmin]'. There is no flytekit for Python 3.13"
        ) from exc
    finally:
        sys.excepthook = hook
    for name in _LOGGERS:
        _hand_on(logging.getLogger(name))


def _hand_on(logger: logging.Logger) -> None:
    """Let its warnings go where everything goes."""
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.WARNING)
