"""Are two images of one identity: `tools/compare.py`, `fastreid-ext-compare`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.cli.arguments import is_key, misplaced_option
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.inference import CheckpointEmbedder, Predictor, Threshold, calibrate
from fastreid_ext.utils.files import check_writable
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]

_KINDS = {"cosine": "cosine similarity", "euclidean": "negative squared Euclidean distance"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and compares, or calibrates."""
    parser = _parser()
    args = parser.parse_intermixed_args(arguments)
    if misplaced := misplaced_option(args.words):
        parser.error(f"there is no option {misplaced}")
    if args.calibrate and args.threshold:
        parser.error("--threshold is for verdicts, which --calibrate gives none of: take one of them")
    count = 1 if args.calibrate else 3
    if len(args.words) < count:
        parser.error("name a model" if args.calibrate else "name a model and two images")
    files, options = args.words[:count], args.words[count:]
    if not args.calibrate and options and not is_key(options[0]):
        parser.error(f"{options[0]} is too much: one image is compared with one; tools/gallery.py searches among many")
    program = _calibrate if args.calibrate else _compare
    run(lambda: program(args, files, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage="%(prog)s MODEL IMAGE IMAGE [--threshold FILE] [option ...] [KEY VALUE ...]\n"
        "       %(prog)s MODEL --calibrate DATA [--fpr RATE] [--output FILE] [option ...] [KEY VALUE ...]",
        description="Tell how similar two images are, and whether they are of one identity.",
        epilog="example: %(prog)s logs/mine --calibrate Market1501 --fpr 1e-4, "
        "then %(prog)s logs/mine a.jpg b.jpg --threshold threshold.json",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="MODEL, IMAGE, KEY VALUE",
        help="the folder of a run, a checkpoint or an exported file; two images; config keys (TEST.*)",
    )
    parser.add_argument("--threshold", default="", metavar="FILE", help="what --calibrate has written: gives a verdict")
    parser.add_argument(
        "--calibrate",
        default="",
        metavar="DATA",
        help="find the threshold on a data set, or on features of this model in a file",
    )
    parser.add_argument("--fpr", type=float, default=1e-3, help="false positive rate to allow (default: %(default)s)")
    parser.add_argument(
        "--output", default="threshold.json", metavar="FILE", help="of --calibrate (default: %(default)s)"
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="of a checkpoint that has no config within")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<index> (default: %(default)s)")
    return parser


def _predictor(args: argparse.Namespace, model: str, options: Sequence[str]) -> Predictor:
    setup_logger()
    return Predictor(model, device=args.device, options=options, config=args.config_file)


def _calibrate(args: argparse.Namespace, files: Sequence[str], options: Sequence[str]) -> None:
    check_writable(args.output, "--output")
    predictor = _predictor(args, files[0], options)
    root = dict(zip(options[::2], options[1::2], strict=False)).get("DATASETS.ROOT", "")
    if isinstance(predictor.embedder, CheckpointEmbedder):
        root = root or predictor.embedder.cfg.DATASETS.ROOT
    threshold = calibrate(predictor, args.calibrate, fpr=args.fpr, root=root)
    threshold.save(args.output)
    print(f"threshold: {_KINDS[threshold.metric]} {threshold.value:.6g}")
    print(_rates(threshold))
    get_logger(__name__).info(f"written: {args.output}")


def _compare(args: argparse.Namespace, files: Sequence[str], options: Sequence[str]) -> None:
    model, *images = files
    # What is wrong with a small file is found out before a model is opened.
    if folders := [image for image in images if Path(image).is_dir()]:
        raise ConfigError(f"{folders[0]} is a folder: compare one image with one; tools/gallery.py searches folders")
    threshold = Threshold.load(args.threshold) if args.threshold else None
    predictor = _predictor(args, model, options)
    if threshold is not None:
        threshold.check(predictor.card)
    a_embedded, b_embedded = predictor.embed(images)
    print(f"{_KINDS[predictor.card.metric]}: {float(predictor.similarity(a_embedded, b_embedded)):.6g}")
    if threshold is not None:
        verdict = predictor.verify(a_embedded, b_embedded, threshold)
        print(f"{'same' if verdict.same else 'different'}: the threshold is {threshold.value:.6g}")
        print(_rates(threshold))


def _rates(threshold: Threshold) -> str:
    return (
        f"accepts {threshold.measured_fpr:.3%} of {threshold.num_impostor:,} impostor pairs and "
        f"{threshold.tpr:.1%} of {threshold.num_genuine:,} genuine pairs of {threshold.data}"
    )
