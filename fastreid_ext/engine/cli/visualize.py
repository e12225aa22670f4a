"""A page that shows what models find: `tools/visualize.py`, `fastreid-ext-visualize`."""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.cli.arguments import is_key
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.engine.cli.training_sets import training_sets
from fastreid_ext.evaluation.feature_files import is_feature_file
from fastreid_ext.report.build import Shown, build_report
from fastreid_ext.report.measured import check_comparable, measure
from fastreid_ext.report.models import open_models
from fastreid_ext.report.page.assemble import write_page
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.env import require
from fastreid_ext.utils.files import check_writable
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]

_LARGE = 100e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and writes the page."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    args = parser.parse_intermixed_args(words)
    first_key = next((place for place, word in enumerate(args.words) if _is_key(word)), len(args.words))
    models, options = args.words[:first_key], args.words[first_key:]
    if not 1 <= len(models) <= 2:
        parser.error(f"name one model, or two to see them side by side; got {len(models)}")
    run(lambda: _program(args, models, options, words))


def _parser() -> argparse.ArgumentParser:
    shown = Shown()
    parser = argparse.ArgumentParser(
        usage="%(prog)s MODEL [MODEL2] [option ...] [KEY VALUE ...]",
        description="Write one HTML page that shows what a model finds in a test set, or two models side by side: "
        "figures, curves, the ranked galleries of queries, activation maps, a t-SNE. It needs no network. "
        "A MODEL is the folder of a run, a checkpoint, an exported model, or a file of train_net.py --save-features.",
        epilog="example: visualize.py logs/mine --output mine.html TEST.RERANK.ENABLED True",
    )
    parser.add_argument("words", nargs="*", metavar="MODEL, KEY VALUE", help="one or two models, then config keys")
    parser.add_argument("--output", default="report.html", metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--test-set", default="", metavar="SPEC", help="(default: the first of DATASETS.TESTS)")
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="of a checkpoint that has none within, or for feature files"
    )
    for name, default, help_text in (
        ("queries", shown.queries, "listed at most: half of them the worst, the others spread over all"),
        ("columns", shown.columns, "gallery images of each query"),
        ("activations", shown.activations, "images with an activation map, of the worst and the best queries; 0: none"),
        ("tsne", shown.tsne, "images in the t-SNE; 0: none"),
        ("thumbnail", shown.thumbnail, "longer side of the images in pixels"),
    ):
        least = 0 if name in ("activations", "tsne") else 1
        kind = _at_least(least)
        parser.add_argument(
            f"--{name}", type=kind, default=default, metavar="N", help=f"{help_text} (default: {default})"
        )
    # Asked for, it is an error where its package is not there.
    parser.set_defaults(tsne=None)
    return parser


def _program(args: argparse.Namespace, sources: Sequence[str], options: Sequence[str], words: Sequence[str]) -> None:
    output = Path(args.output)
    if output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--output {output}: the name of the page ends in .html")
    check_writable(output, "--output")
    # Before the minutes that features take.
    images_of_tsne, notes = _tsne(args.tsne)
    if args.test_set and all(is_feature_file(source) for source in sources):
        raise ConfigError("--test-set is for models; a feature file has its own")
    setup_logger()
    keep_freed_memory()
    models = open_models(
        sources, test_set=args.test_set, config=args.config_file, options=options, training_sets=training_sets
    )
    measured = [measure(model) for model in models]
    if len(measured) == 2:
        check_comparable(*measured)
    shown = Shown(args.queries, args.columns, args.activations, images_of_tsne, args.thumbnail)
    command = shlex.join([Path(sys.argv[0]).name, *words])
    report = build_report(measured, shown, made=f"{datetime.date.today().isoformat()}: {command}", notes=notes)
    write_page(output, report.payload, report.thumbnails, report.activation_pictures)
    _tell(output, report.payload["notes"])


def _tsne(asked_for: int | None) -> tuple[int, list[str]]:
    """How many images it shows, and what to say where it is left out unasked."""
    try:
        if asked_for != 0:
            require("sklearn.manifold", "viz", "the t-SNE of the page (--tsne 0 leaves it out)")
    except ImportError as error:
        if asked_for is not None:
            raise
        return 0, [f"There is no t-SNE: {error}."]
    return Shown.tsne if asked_for is None else asked_for, []


def _tell(output: Path, notes: Sequence[str]) -> None:
    log, size = get_logger(__name__), output.stat().st_size
    for note in notes:
        log.info(note)
    log.info(f"written: {output}, {size / 1e6:.1f} MB; open it in a browser")
    if size > _LARGE:
        log.warning(
            "a page as large loads slowly: fewer --queries or --columns, or a smaller --thumbnail, make it smaller"
        )


def _is_key(word: str) -> bool:
    return is_key(word) and not Path(word).exists() and "/" not in word


def _at_least(least: int) -> Callable[[str], int]:
    def number(word: str) -> int:
        if (value := int(word)) < least:
            raise argparse.ArgumentTypeError(f"{word} is below {least}")
        return value

    return number
