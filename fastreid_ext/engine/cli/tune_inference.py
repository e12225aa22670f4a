"""Search inference strategies: `tools/tune_inference.py`, `fastreid-ext-tune-inference`."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.config.loader import find_config
from fastreid_ext.data.datasets import HeldOut, ReIDDataset, build_dataset, hold_out
from fastreid_ext.engine.checkpoint import CheckpointError, read_checkpoint
from fastreid_ext.engine.cli.arguments import misplaced_option
from fastreid_ext.engine.cli.errors import INTERRUPTED, run
from fastreid_ext.engine.cli.training_sets import training_sets
from fastreid_ext.engine.trained_model import trained_model
from fastreid_ext.engine.tuning.features import SettingFeatures
from fastreid_ext.engine.tuning.report import SETTINGS, table, write_config, write_settings
from fastreid_ext.engine.tuning.score import SettingScore
from fastreid_ext.engine.tuning.search import SettingSearch
from fastreid_ext.engine.tuning.setting import STRATEGIES
from fastreid_ext.evaluation.domains import specs_of
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]

_SHARE = 0.3
_FEW_QUERIES = 50
# What inference.yml says itself.
_WRITTEN = ("OUTPUT_DIR", "MODEL.WEIGHTS", "TEST.METRIC", "TEST.BEST_METRIC")
_WRITTEN_NODES = ("TEST.MIXED_POOL.", "TEST.BETA_NORM.", "TEST.LEAKY_RELU.", "TEST.RERANK.", "TEST.FLIP.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and searches."""
    parser = _parser()
    args = parser.parse_args(arguments)
    misplaced = misplaced_option(args.options)
    if misplaced:
        parser.error(f"options such as {misplaced} go before the first KEY")
    if args.settings < 1:
        parser.error(f"--settings is {args.settings}; it must be at least 1")
    args.strategies = list(dict.fromkeys(args.strategies.split(",")))
    unknown = [name for name in args.strategies if name not in STRATEGIES]
    if unknown:
        parser.error(f"--strategies names {', '.join(map(repr, unknown))}; choose from {', '.join(STRATEGIES)}")
    run(lambda: _program(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Search the inference strategies of a trained model on held-out training identities (of the first "
        "of DATASETS.NAMES), and write the TEST block. Test sets are never read.",
        epilog="example: tune_inference.py --config-file logs/mine/config.yaml MODEL.WEIGHTS logs/mine/model_final.pth",
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="of the run: logs/mine/config.yaml")
    parser.add_argument("--settings", type=int, default=200, help="how many to try (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the search, and of the identities that are held out")
    parser.add_argument(
        "--share",
        type=float,
        default=_SHARE,
        help="of the training identities, held out if DATASETS.NAMES is no HeldOut",
    )
    parser.add_argument("--metric", default="", help="figure that counts (default: TEST.BEST_METRIC)")
    parser.add_argument(
        "--strategies",
        default=",".join(STRATEGIES),
        help="to search; others stay as TEST has them (default: %(default)s)",
    )
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to overwrite")
    return parser


def _program(args: argparse.Namespace) -> None:
    cfg = load_config(args.config_file, [*args.options, *(["TEST.BEST_METRIC", args.metric] if args.metric else [])])
    if cfg.TEST.ENSEMBLE:
        raise ConfigError(
            "this tunes one model: leave TEST.ENSEMBLE empty here, and name its members when you evaluate"
        )
    if not cfg.MODEL.WEIGHTS:
        raise CheckpointError("name the checkpoint to tune: MODEL.WEIGHTS logs/mine/model_final.pth")
    strategies = args.strategies
    if cfg.TEST.BEST_METRIC == "NMI" and "rerank" in strategies:
        raise ConfigError("re-ranking gives distances, which have no NMI: leave rerank out of --strategies")
    folder = Path(cfg.OUTPUT_DIR) if "OUTPUT_DIR" in args.options[::2] else Path(cfg.OUTPUT_DIR) / "inference"
    setup_logger(folder)
    keep_freed_memory()
    state = read_checkpoint(cfg.MODEL.WEIGHTS)
    dataset = _validation_set(cfg, args.share, args.seed)
    trained_on = training_sets(cfg, state, [dataset])
    _tell_of(dataset, trained_on)
    model = trained_model(cfg, state, source=cfg.MODEL.WEIGHTS)
    features = SettingFeatures(cfg, model, dataset, strategies, trained_on=trained_on)
    _search(args, cfg, features, folder)


def _validation_set(cfg: CfgNode, share: float, seed: int) -> ReIDDataset:
    dataset = build_dataset(cfg.DATASETS.NAMES[0], cfg.DATASETS.ROOT)
    return dataset if isinstance(dataset, HeldOut) else hold_out(dataset, share=share, seed=seed)


def _tell_of(dataset: ReIDDataset, trained_on: Sequence[ReIDDataset | str]) -> None:
    log = get_logger(__name__)
    counts = dataset.counts()
    log.info(
        f"validation set {dataset.spec}: {counts['query_images']} queries, {counts['gallery_images']} gallery images "
        f"of {counts['gallery_ids']} training identities"
    )
    if counts["query_images"] < _FEW_QUERIES:
        log.warning("with so few queries the choice is a matter of chance: hold out more identities (--share)")
    images = {Path(sample.path).absolute() for sample in (*dataset.query, *dataset.gallery)}
    seen = dataset.spec not in specs_of(trained_on) and any(
        isinstance(other, str) or not images.isdisjoint(Path(sample.path).absolute() for sample in other.train)
        for other in trained_on
    )
    if seen:
        log.warning(
            "the model has been trained on these identities: figures are higher than they will be on others, and the "
            "choice is less sure. To avoid that, train with DATASETS.NAMES "
            f"""'("{dataset.spec}",)', which leaves them out"""
        )


def _search(args: argparse.Namespace, cfg: CfgNode, features: SettingFeatures, folder: Path) -> None:
    log, metric = get_logger(__name__), cfg.TEST.BEST_METRIC
    if not features.in_one_pass:
        log.info(
            f"{type(features.model).__name__} gives each pooling and slope in a pass over the images of its own: "
            f"at most {features.most_extractions} of them, from a coarse grid"
        )
    if "leaky_relu" in features.choices.strategies and not features.choices.slope_alone:
        log.info("the trained pooling is neither mean nor maximum: leaky_relu is tried with mixed_pool only")
    score = SettingScore(cfg, features)
    start = time.perf_counter()
    search = SettingSearch(features.base, features.choices, score.limits(), score, seed=args.seed)
    interrupted = False
    try:
        with tqdm(total=args.settings, desc="settings", leave=False, disable=not sys.stderr.isatty()) as bar:
            for _ in search.run(args.settings):
                bar.update()
    except KeyboardInterrupt:
        if not search.found:
            raise
        interrupted = True
    seconds = time.perf_counter() - start - features.seconds
    path = _write(args, cfg, search, folder, features.dataset.spec)
    log.info("\n" + table(search, metric))
    if search.best.setting == search.base:
        log.info(f"nothing beats the model as it is: {path} turns nothing on that was off")
    log.info(
        f"{features.extractions} pass{'es' * (features.extractions > 1)} over the images, mirrored ones included: "
        f"{features.seconds:.1f} s; {len(search.found)} settings: {seconds:.1f} s; all of them: {folder / SETTINGS}"
    )
    log.info("evaluate with the best: " + _command(args, cfg, path))
    if interrupted:
        log.info("interrupted: the best of what was tried is written")
        sys.exit(INTERRUPTED)


def _write(args: argparse.Namespace, cfg: CfgNode, search: SettingSearch, folder: Path, dataset: str) -> Path:
    best, nothing = search.best, search.found[search.base]
    write_settings(folder / SETTINGS, list(search.found.values()))
    comment = (
        f"{best.setting.describe()}: {cfg.TEST.BEST_METRIC} {best.score:.2f} instead of {nothing.score:.2f} on\n"
        f"{dataset}, the best of {len(search.found)} settings."
    )
    base = find_config(args.config_file) if args.config_file else None
    return write_config(folder, base, best.setting.options(cfg.TEST.METRIC), comment)


def _command(args: argparse.Namespace, cfg: CfgNode, path: Path) -> str:
    """With what the user overwrote and the written config does not say."""
    words = ["python", "tools/train_net.py", "--config-file", str(path), "--eval-only", "MODEL.WEIGHTS"]
    words.append(cfg.MODEL.WEIGHTS)
    for key, value in zip(args.options[::2], args.options[1::2], strict=True):
        if key not in _WRITTEN and not key.startswith(_WRITTEN_NODES):
            words += [key, value]
    return shlex.join(words)
