"""Trained models in files for other programs: `tools/export.py`, `fastreid-ext-export`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor

from fastreid_ext.config import ConfigError
from fastreid_ext.data.datasets import DatasetError
from fastreid_ext.engine.cli.arguments import is_key
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.engine.cli.export_figures import compare_with_each_other, compare_with_evaluation
from fastreid_ext.export import FORMATS, Exported, ExportError, export_model
from fastreid_ext.export.check import differences, random_images
from fastreid_ext.export.images import real_images
from fastreid_ext.export.int8 import quantize
from fastreid_ext.export.speed import images_per_second
from fastreid_ext.inference import CheckpointEmbedder, Embedder, open_embedder
from fastreid_ext.inference.weights_embedder import WeightsEmbedder
from fastreid_ext.utils.download import is_url
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]

_CHECKED, _CALIBRATED = 64, 256
_BATCH_SIZES = (1, 32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, writes files, prints a table of what they differ and how quick they are."""
    parser = _parser()
    args = parser.parse_intermixed_args(arguments)
    if args.int8 and args.format not in ("onnx", "all"):
        parser.error("--int8 makes an ONNX file: add --format onnx or all")
    if args.calibration and not args.int8:
        parser.error("--calibration is for --int8; images for the check are named by --images")
    run(lambda: _program(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage="%(prog)s MODEL [option ...] [KEY VALUE ...]",
        description="Write a trained model to files for other programs, each checked against PyTorch. MODEL is the "
        "folder of a run, or a checkpoint.",
        epilog="example: export.py logs/mine --format all --output mine.onnx --int8 TEST.FLIP.ENABLED True",
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a run, or a checkpoint or its URL")
    parser.add_argument(
        "--format",
        default="onnx",
        choices=[*FORMATS, "all"],
        help="onnx (default); pt2: a package of torch.export, for torch alone; safetensors: weights; or all",
    )
    parser.add_argument("--output", default="", metavar="FILE", help="(default: the checkpoint's name, other suffix)")
    parser.add_argument(
        "--preprocessing",
        default="inside",
        choices=["inside", "outside"],
        help="inside: the model takes bytes, crops and normalises them; outside: it takes what is normalised",
    )
    parser.add_argument(
        "--images",
        default="",
        metavar="FOLDER or SPEC",
        help=f"{_CHECKED} real images to check with (default: of the first of DATASETS.TESTS, if it is there)",
    )
    parser.add_argument("--int8", action="store_true", help="also write FILE.int8.onnx, which computes with bytes")
    parser.add_argument(
        "--calibration",
        default="",
        metavar="FOLDER or SPEC",
        help=f"{_CALIBRATED} images for --int8 (default: of the first of DATASETS.NAMES, those for training)",
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="also evaluate the checkpoint and each file on DATASETS.TESTS, and compare their embeddings",
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="of a checkpoint that has none within")
    parser.add_argument("options", nargs="*", metavar="KEY VALUE", help="config keys to overwrite")
    return parser


def _program(args: argparse.Namespace) -> None:
    if args.options and not is_key(args.options[0]):
        raise ConfigError(f"{args.options[0]!r} is no config key; one model is exported at a time")
    setup_logger()
    model = open_embedder(args.model, device="cpu", options=args.options, config=args.config_file)
    if not isinstance(model, CheckpointEmbedder):
        raise ExportError(f"{args.model} is an exported model: export the checkpoint that it was made of")
    if (args.int8 or args.evaluate) and isinstance(model, WeightsEmbedder):
        option = "--int8" if args.int8 else "--evaluate"
        raise ExportError(
            f"{option} is measured on a run's data, which {args.model} does not name: export the checkpoint"
        )
    paths = _paths(args, model)
    # Before minutes of work.
    calibration = _calibration(args, model) if args.int8 else None
    images = _images(args, model)
    written, failures = _write(args, model, paths, images)
    if calibration is not None and "onnx" in written:
        path = paths["onnx"].with_suffix(".int8.onnx")
        quantize(paths["onnx"], path, calibration)
        written["int8"] = Exported(path, differences(open_embedder(path, device="cpu"), model, images))
    embedders = {kind: open_embedder(file.path, device="cpu") for kind, file in written.items()}
    if written:
        print(_table(model, embedders, written, list(images)))
    if written and args.evaluate:
        compare_with_evaluation(model, embedders)
    elif "int8" in written:
        compare_with_each_other(model.cfg, {"float": embedders["onnx"], "int8": embedders["int8"]})
    if failures:
        raise ExportError("\n".join(failures))


def _paths(args: argparse.Namespace, model: CheckpointEmbedder) -> dict[str, Path]:
    """Where to write each format."""
    kinds = FORMATS if args.format == "all" else (args.format,)
    # Of a URL the last part, in this folder.
    output = Path(args.output or Path(model.source).name if is_url(model.source) else args.output or model.source)
    if args.output and output.suffix not in {f".{kind}" for kind in kinds}:
        raise ConfigError(f"--output {output}: the name of a file of --format {args.format} ends in .{kinds[0]}")
    return {kind: output.with_suffix(f".{kind}") for kind in kinds}


def _images(args: argparse.Namespace, model: CheckpointEmbedder) -> dict[str, Tensor]:
    """What files are checked with, by kind."""
    root, size = model.cfg.DATASETS.ROOT, model.card.size
    images = {"random": random_images(size)}
    try:
        if source := args.images or _test_set(model):
            images["real"] = real_images(source, size, count=_CHECKED, root=root)
    except DatasetError as error:
        if args.images:
            raise
        get_logger(__name__).warning(error)
    if "real" not in images:
        get_logger(__name__).warning("checked with random images only: --images FOLDER names real ones")
    return images


def _test_set(model: CheckpointEmbedder) -> str:
    """The first of the run's; weights alone do not know."""
    return "" if isinstance(model, WeightsEmbedder) else next(iter(model.cfg.DATASETS.TESTS), "")


def _calibration(args: argparse.Namespace, model: CheckpointEmbedder) -> Tensor:
    data = model.cfg.DATASETS
    source = args.calibration or next(iter(data.NAMES), "")
    if not source:
        raise ConfigError("--int8 is calibrated with images, and DATASETS.NAMES is empty: name a --calibration FOLDER")
    return real_images(source, model.card.size, count=_CALIBRATED, split="train", root=data.ROOT)


def _write(
    args: argparse.Namespace, model: CheckpointEmbedder, paths: Mapping[str, Path], images: Mapping[str, Tensor]
) -> tuple[dict[str, Exported], list[str]]:
    """The files that were written, and what is wrong with the others."""
    written, failures = {}, []
    for kind, path in paths.items():
        get_logger(__name__).info(f"writing {path}")
        try:
            written[kind] = export_model(model, path, preprocessing=args.preprocessing, images=images.get("real"))
        except ExportError as error:
            failures.append(f"{path} is not written: {error}")
    return written, failures


def _table(
    model: Embedder, files: Mapping[str, Embedder], written: Mapping[str, Exported], images: Sequence[str]
) -> str:
    """What files differ from PyTorch in, by kind of images, and how quick they are."""
    rates = images_per_second({"torch": model, **files}, _BATCH_SIZES)
    rows = [["PyTorch", "", *("" for _ in images), *(f"{rate:.1f}" for rate in rates["torch"])]]
    for kind, embedder in files.items():
        size = f"{Path(embedder.source).stat().st_size / 1e6:.1f}"
        found = (f"{value:.1e}" for value in written[kind].differences.values())
        rows.append([embedder.source, size, *found, *(f"{rate:.1f}" for rate in rates[kind])])
    headers = ["file", "MB", *(f"difference, {kind}" for kind in images), *(f"images/s, {n}" for n in _BATCH_SIZES)]
    columns = ["left", *["right"] * (len(headers) - 1)]
    threads = torch.get_num_threads()
    table = tabulate(rows, headers, tablefmt="github", colalign=columns, disable_numparse=True)
    return (
        f"{table}\ndifference: from PyTorch on {' and '.join(images)} images, the largest of values of embeddings of "
        f"length 1; images/s: {' or '.join(map(str, _BATCH_SIZES))} at a time, on {threads} of the CPU's cores"
    )
