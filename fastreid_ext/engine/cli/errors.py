"""Errors as a sentence for the user instead of a traceback."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

from torch.multiprocessing.spawn import ProcessExitedException

from fastreid_ext.config import ConfigError
from fastreid_ext.data.datasets import DatasetError
from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.loader import LoadingError
from fastreid_ext.data.samplers import SamplerError
from fastreid_ext.engine.checkpoint import CheckpointError
from fastreid_ext.engine.hooks import TrainingInterrupted
from fastreid_ext.engine.train_loop import NonFiniteLossError
from fastreid_ext.evaluation.evaluator import EvaluationError, UnreadableImagesError
from fastreid_ext.evaluation.feature_files import FeatureFileError
from fastreid_ext.gallery.errors import AddingStopped
from fastreid_ext.modeling.backbones import PretrainedError
from fastreid_ext.registry import RegistryError
from fastreid_ext.search.errors import SearchStopped
from fastreid_ext.utils.dist import get_rank, get_world_size, is_main_process
from fastreid_ext.utils.logger import get_logger

__all__ = ["run"]

# What a user can mend; anything else is our fault and keeps its traceback.
_FOR_USERS = (
    CheckpointError,
    ConfigError,
    DatasetError,
    EvaluationError,
    FeatureFileError,
    ImportError,
    NonFiniteLossError,
    OSError,
    PretrainedError,
    RegistryError,
    SamplerError,
    LoadingError,
    UnreadableImage,
    UnreadableImagesError,
    ValueError,
)

INTERRUPTED = 130


def run(program: Callable[[], None]) -> None:
    """Calls `program` and ends the process: code 0, 1 after an error, 130 after an interrupt."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files are bytes, which need not be text.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        program()
    except ProcessExitedException as error:
        # The process has told its user why.
        sys.exit(error.exit_code if error.exit_code > 0 else 1)
    except SearchStopped:
        print("stopped; everything is in the file of trials, --resume goes on from it", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except AddingStopped:
        print("stopped; the images embedded so far are in the gallery, gallery.py add goes on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except TrainingInterrupted:
        if is_main_process():
            print("stopped; the state is saved, --resume goes on from it", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        print("stopped without saving", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except _FOR_USERS as error:
        # The file keeps the traceback, the console shows the sentence.
        get_logger(__name__).debug("traceback", exc_info=error)
        rank = f"[rank {get_rank()}] " if get_world_size() > 1 else ""
        print(f"{rank}error: {error}", file=sys.stderr)
        sys.exit(1)
