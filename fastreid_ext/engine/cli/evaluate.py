"""Evaluate files of features without a model: `tools/evaluate.py`, `fastreid-ext-evaluate`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.engine.cli.arguments import is_key
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.evaluation.evaluator import Results, build_evaluator, evaluate_features, results_table
from fastreid_ext.evaluation.feature_arrays import UNKNOWN_CAMERA
from fastreid_ext.evaluation.feature_files import (
    SUFFIXES,
    FeatureFileError,
    check_format,
    has_suffix,
    join,
    load_features,
)
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.utils.files import check_writable, write_json
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]

Evaluated = tuple[str, str, dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line, evaluates each file, prints a table."""
    parser = _parser()
    args = parser.parse_intermixed_args(arguments)
    files, options = split_words(args.words)
    if bool(args.query) != bool(args.gallery):
        parser.error("--query and --gallery come together")
    if not args.words and not args.query:
        parser.error("no feature files given: name some, or --query and --gallery")
    run(lambda: _program(args, files, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage="%(prog)s [option ...] FILE ... [KEY VALUE ...]",
        description="Evaluate features in files, such as train_net.py --save-features writes.",
        epilog="example: evaluate.py a.npz b.npz TEST.RERANK.ENABLED True TEST.METRIC euclidean",
    )
    parser.add_argument(
        "words", nargs="*", metavar="FILE, KEY VALUE", help="files, then config keys (TEST.*) to overwrite"
    )
    parser.add_argument("--query", metavar="FILE", help="file of queries, for a gallery in another file")
    parser.add_argument("--gallery", metavar="FILE", help="file of that gallery")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML file, or a short name: msinet/msmt")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        choices=["cpu", "cuda"],
        help="where distances are computed (default: cuda where there is one)",
    )
    parser.add_argument(
        "--camera-rule",
        action=argparse.BooleanOptionalAction,
        help="pass over gallery images of the query's identity and camera, or not, whatever the files say",
    )
    return parser


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files, which come first, and `[KEY, value, ...]`, from the first word on that looks like a key."""
    first = next((i for i, word in enumerate(words) if is_key(word) and not has_suffix(word)), len(words))
    return list(dict.fromkeys(words[:first])), list(words[first:])


def _program(args: argparse.Namespace, files: Sequence[str], options: Sequence[str]) -> None:
    _check_words(files, options)
    if not files and not args.query:
        raise ConfigError(f"no feature files given before {options[0]}: files come first, then KEY VALUE pairs")
    cfg = load_config(args.config_file, options)
    _check_extraction(cfg, options)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda, but torch sees no GPU: take --device cpu")
    setup_logger()
    sources = _sources(args, files)
    if args.json:
        check_writable(args.json, "--json")
    # What is wrong with the evaluator is not each file's fault.
    build_evaluator(cfg)
    evaluated, failures = _evaluate(cfg, sources, args)
    if evaluated:
        results = _unique_names(evaluated)
        print(results_table(results))
        if args.json:
            write_json(args.json, results)
    if failures:
        head = f"{len(failures)} of {len(sources)} files cannot be evaluated:\n  " if len(sources) > 1 else ""
        raise FeatureFileError(head + "\n  ".join(failures))


def _evaluate(
    cfg: CfgNode, sources: Mapping[str, Callable[[], FeatureSet]], args: argparse.Namespace
) -> tuple[list[Evaluated], list[str]]:
    """The figures of what can be evaluated, and what is wrong with the others."""
    evaluated, failures = [], []
    # A file at a time: together, the features of several models may not fit into memory.
    for label, load in sources.items():
        try:
            feature_set = _with_camera_rule(load(), args.camera_rule)
            get_logger(__name__).info(f"{label}: {_describe(feature_set)}")
            (metrics,) = evaluate_features(cfg, [feature_set], device=args.device).values()
        except (FeatureFileError, OSError, ValueError) as error:
            get_logger(__name__).debug("traceback", exc_info=error)
            failures.append(str(error) if label in str(error) else f"{label}: {error}")
        else:
            evaluated.append((feature_set.name, label, metrics))
    return evaluated, failures


def _check_words(files: Sequence[str], options: Sequence[str]) -> None:
    for word in files:
        if not has_suffix(word):
            raise ConfigError(
                f"{word!r} is neither a feature file, whose name ends in {' or '.join(SUFFIXES)}, "
                "nor a config key, such as TEST.METRIC"
            )
    for key in options[::2]:
        if has_suffix(key):
            raise ConfigError(f"{key!r} stands where a config key is expected: name files before KEY VALUE pairs")


def _check_extraction(cfg: CfgNode, options: Sequence[str]) -> None:
    """The config file may be that of the training, whose features were extracted as it says."""
    asked = {
        "TEST.FLIP.ENABLED": (cfg.TEST.FLIP.ENABLED, "be averaged over images and their mirror images"),
        "TEST.MIXED_POOL.ENABLED": (cfg.TEST.MIXED_POOL.ENABLED, "be pooled again"),
        "TEST.LEAKY_RELU.ENABLED": (cfg.TEST.LEAKY_RELU.ENABLED, "get another activation"),
        "TEST.ENSEMBLE": (cfg.TEST.ENSEMBLE, "be joined with those of checkpoints"),
    }
    for key, (value, done) in asked.items():
        if value and key in options[::2]:
            raise ConfigError(
                f"{key} is on, but features in files cannot {done}: "
                "give it to train_net.py --eval-only --save-features, which extracts them"
            )


def _sources(args: argparse.Namespace, files: Sequence[str]) -> Mapping[str, Callable[[], FeatureSet]]:
    """What loads each feature set; all files are looked for before the first is read."""
    for path in [*files, *filter(None, (args.query, args.gallery))]:
        check_format(path)
        if not Path(path).is_file():
            raise FeatureFileError(f"no feature file {Path(path).absolute()}")
    sources: dict[str, Callable[[], FeatureSet]] = {str(Path(path)): partial(load_features, path) for path in files}
    if args.query:
        sources[f"{args.query} in {args.gallery}"] = lambda: join(
            load_features(args.query), load_features(args.gallery), camera_rule=args.camera_rule
        )
    return sources


def _with_camera_rule(feature_set: FeatureSet, camera_rule: bool | None) -> FeatureSet:
    if camera_rule is None:
        return feature_set
    camids = feature_set.camids
    unknown = int((camids == UNKNOWN_CAMERA).sum())
    if camera_rule and unknown:
        raise FeatureFileError(
            f"--camera-rule: {feature_set.name} has no camids"
            + (f" of {unknown} of {len(camids)} images (they are {UNKNOWN_CAMERA})" if unknown < len(camids) else "")
        )
    if camera_rule and bool((camids == camids[0]).all()):
        raise FeatureFileError(f"--camera-rule: all camids of {feature_set.name} are the same; it would leave no match")
    return replace(feature_set, protocol=replace(feature_set.protocol, camera_rule=camera_rule))


def _describe(feature_set: FeatureSet) -> str:
    (images, width), (query, gallery) = feature_set.values.shape, feature_set.trials[0]
    trials = f", {len(feature_set.trials)} trials" if len(feature_set.trials) > 1 else ""
    rules = [
        name.replace("_", " ") for name in ("camera_rule", "query_is_gallery") if getattr(feature_set.protocol, name)
    ]
    return (
        f"{images} images, {width} dimensions, {len(query)} queries, {len(gallery)} in the gallery{trials}; "
        f"{', '.join(rules) or 'no camera rule'}"
    )


def _unique_names(evaluated: Sequence[Evaluated]) -> Results:
    """Results by name; of several of one name, such as of two models on one data set, by name and file."""
    names = [name for name, _, _ in evaluated]
    short = [f"{name} ({Path(label).name})" for name, label, _ in evaluated]

    def pick(i: int) -> str:
        if names.count(names[i]) == 1:
            return names[i]
        return short[i] if short.count(short[i]) == 1 else f"{names[i]} ({evaluated[i][1]})"

    return {pick(i): metrics for i, (_, _, metrics) in enumerate(evaluated)}
