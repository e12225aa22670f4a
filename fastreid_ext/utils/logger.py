"""Console and file logging."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from fastreid_ext.utils.dist import get_rank, is_main_process

__all__ = ["get_logger", "logging_to", "setup_logger"]

ROOT = "fastreid_ext"


class _ConsoleHandler(logging.Handler):
    """Prints above a progress bar instead of through it; leaves out what is marked as for the file only."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "file_only", False):
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()


def get_logger(name: str = ROOT) -> logging.Logger:
    """The logger for a module; pass `__name__`."""
    return logging.getLogger(name)


def setup_logger(output_dir: str | Path | None = None) -> logging.Logger:
    """Logs to the console (main process) and to `output_dir/log.txt` (other ranks: `log.rank1.txt`, ...).

    Records with the attribute `file_only` (`log.info(..., extra={"file_only": True})`) and debug records, such as the
    tracebacks of errors that are shown as a sentence, go to the file alone. Calling it again replaces the handlers, so
    that two runs in one process do not write into each other's files.
    """
    logger = logging.getLogger(ROOT)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    formatter = logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S")
    if is_main_process():
        console = _ConsoleHandler(logging.INFO)
        console.setFormatter(formatter)
        logger.addHandler(console)
    if output_dir is not None:
        name = "log.txt" if is_main_process() else f"log.rank{get_rank()}.txt"
        logger.addHandler(_file_handler(Path(output_dir) / name))
    return logger


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Inside the block, everything is logged to this file and nowhere else."""
    logger = logging.getLogger(ROOT)
    before = (logger.handlers, logger.level, logger.propagate)
    file = _file_handler(path)
    logger.handlers, logger.level, logger.propagate = [file], logging.DEBUG, False
    try:
        yield
    finally:
        logger.handlers, logger.level, logger.propagate = before
        file.close()


def _file_handler(path: Path) -> logging.FileHandler:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return file
