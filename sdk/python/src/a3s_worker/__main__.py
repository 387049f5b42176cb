"""Runs the worker of a module: `python -m a3s_worker MODULE:NAME` or `FILE.py:NAME`; NAME is
`worker` when it is not given. Options go before the environment, and what the module itself says
goes before both.

Ends with 3 when the broker is not there or refuses something that the worker needs."""

import argparse
import importlib
import importlib.util
import logging
import os
import sys
from pathlib import Path
from types import ModuleType

from . import BrokerError, Worker

_BROKER = 3
"""The exit status, as of the Rust worker."""

_OPTIONS = {
    "--nats-url": ("NATS_URL", "servers to use, separated by commas"),
    "--context": ("NATS_CONTEXT", "a context of the nats CLI, by name"),
    "--creds": ("NATS_CREDS", "credentials file"),
    "--session-id": ("SESSION_ID", "serve the own lanes of one session"),
    "--pool": ("A3S_POOL", "serve the sessions that are routed to this pool"),
    "--lanes": ("A3S_LANES", "serve these lanes only: control,query,execute,generate"),
    "--concurrency": ("A3S_CONCURRENCY", "tasks at a time"),
    "--worker-id": ("A3S_WORKER_ID", "the worker's name"),
    "--signing-key": ("A3S_SIGNING_KEY", "sign results with the key in this file"),
    "--trust": ("A3S_TRUST", "run only tasks that are signed by a key of this list"),
    "--drain": ("A3S_DRAIN", "seconds that a drain waits for running tools"),
    "--prefix": ("A3S_PREFIX", "first token of all subjects"),
}


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m a3s_worker", description=__doc__)
    parser.add_argument("worker", metavar="MODULE:NAME", help="where the Worker is")
    parser.add_argument("--log-level", default=os.environ.get("A3S_LOG", "INFO"))
    for option, (variable, text) in _OPTIONS.items():
        parser.add_argument(option, dest=variable, help=f"{text} [env: {variable}]")
    arguments = vars(parser.parse_args())
    logging.basicConfig(
        level=arguments["log_level"].upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    for variable, _ in _OPTIONS.values():
        if arguments[variable] is not None:
            os.environ[variable] = arguments[variable]
    try:
        find_worker(arguments["worker"]).serve()
    except BrokerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_BROKER)
    except (ValueError, ImportError) as error:
        sys.exit(f"error: {error}")


def find_worker(where: str) -> Worker:
    """The worker of a module. Raises ImportError when there is none."""
    module_name, _, name = where.partition(":")
    module = _load_file(Path(module_name)) if module_name.endswith(".py") else _load(module_name)
    worker = getattr(module, name or "worker", None)
    if not isinstance(worker, Worker):
        raise ImportError(f"{where}: {name or 'worker'} is no a3s_worker.Worker")
    return worker


def _load(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    return importlib.import_module(name)


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"{path} is no Python file")
    sys.path.insert(0, str(path.parent.resolve()))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
