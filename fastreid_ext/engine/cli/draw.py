"""Pictures of features in files: `tools/draw.py`, `fastreid-ext-draw`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.engine.cli.evaluate import split_words
from fastreid_ext.engine.cli.first_word import first_word, parser_of
from fastreid_ext.evaluation.feature_files import SUFFIXES, has_suffix, load_features, require_paths
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.nearest_images import NearestImages, choose_queries
from fastreid_ext.evaluation.rankings import Rankings, ranking_title
from fastreid_ext.evaluation.retrieval_sheet import SheetRow, Tile, retrieval_sheet
from fastreid_ext.evaluation.tsne import choose_images, tsne
from fastreid_ext.evaluation.tsne_picture import FORMATS, draw_places
from fastreid_ext.utils.env import require
from fastreid_ext.utils.files import atomic_write
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]

_DESCRIPTION = "Draw a picture of features in a file, such as train_net.py --save-features writes."
_SHEET_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@dataclass(frozen=True)
class _Picture:
    """A kind of picture: what it is, its options, and what draws it."""

    help: str
    example: str
    formats: Sequence[str]
    add_options: Callable[[argparse.ArgumentParser], None]
    draw: Callable[[argparse.Namespace, CfgNode, FeatureSet], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and draws a picture."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    pictures = {name: picture.help for name, picture in _PICTURES.items()}
    kind = first_word(words, "picture", pictures, _DESCRIPTION)
    parser = _picture_parser(kind)
    args = parser.parse_intermixed_args(words[1:])
    files, options = split_words(args.words)
    if not files:
        parser.error("no feature file given")
    run(lambda: _program(_PICTURES[kind], args, files, options))


def _picture_parser(kind: str) -> argparse.ArgumentParser:
    picture = _PICTURES[kind]
    usage = "FILE [option ...] [KEY VALUE ...]"
    parser = parser_of(kind, usage, description=picture.help, example=picture.example)
    parser.add_argument("words", nargs="*", metavar="FILE, KEY VALUE", help="file, then config keys (TEST.*)")
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML file, or a short name: msinet/msmt")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument(
        "--output", default=f"{kind}.png", metavar="FILE", help=f"{', '.join(picture.formats)} (default: %(default)s)"
    )
    picture.add_options(parser)
    return parser


def _program(picture: _Picture, args: argparse.Namespace, files: Sequence[str], options: Sequence[str]) -> None:
    if len(files) > 1 or not has_suffix(files[0]):
        raise ConfigError(
            f"{' '.join(files)}: draw one feature file, whose name ends in {' or '.join(SUFFIXES)}; "
            "behind it come config keys, such as TEST.METRIC"
        )
    output = Path(args.output)
    if output.suffix.lower() not in picture.formats or output.is_dir():
        raise ConfigError(f"--output {output}: the name of the picture ends in {', '.join(picture.formats)}")
    cfg = load_config(args.config_file, options)
    setup_logger()
    features = load_features(files[0])
    if len(features.trials) > 1:
        get_logger(__name__).info(f"{files[0]} has {len(features.trials)} trials, of which the first is drawn")
    picture.draw(args, cfg, features)
    get_logger(__name__).info(f"written: {output}")


def _retrieval_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queries", type=_positive, default=8, help="rows (default: 8)")
    parser.add_argument("--columns", type=_positive, default=4, help="gallery images of each (default: 4)")
    parser.add_argument(
        "--order",
        choices=["random", "best", "worst"],
        default="random",
        help="which queries, by average precision; the default is random",
    )
    parser.add_argument("--pids", type=_numbers, default=[], metavar="N,N,...", help="queries of these identities only")


def _tsne_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=_positive, default=1000, help="at most so many (default: 1000)")
    parser.add_argument("--identities", type=_positive, default=20, help="at most so many (default: 20)")
    parser.add_argument(
        "--order",
        choices=["most", "random"],
        default="most",
        help="which identities: those of most images (default), or random ones",
    )
    parser.add_argument("--thumbnails", action="store_true", help="draw images instead of points")


def _draw_retrieval(args: argparse.Namespace, cfg: CfgNode, features: FeatureSet) -> None:
    require_paths(features, "a retrieval sheet")
    rankings = Rankings.from_config(cfg)
    nearest = NearestImages(features, rankings)
    queries = choose_queries(nearest, args.queries, order=args.order, seed=args.seed, pids=args.pids)
    if len(queries) < args.queries:
        get_logger(__name__).warning(f"{len(queries)} queries to draw instead of {args.queries}: there are no more")
    rows = [_row(features, nearest, query, args.columns) for query in queries]
    ranking = f", {ranking_title(nearest.ranking)}" if nearest.ranking else ""
    sheet = retrieval_sheet(rows, f"{features.name}: {rankings.distance(nearest.ranking)}{ranking}")
    with atomic_write(args.output, "wb") as file:
        sheet.save(file, _SHEET_FORMATS[Path(args.output).suffix.lower()], quality=92)


def _row(features: FeatureSet, nearest: NearestImages, query: int, columns: int) -> SheetRow:
    found = nearest.of(query, columns)
    results = [
        Tile(features.paths[image], f"pid {int(features.pids[image])}  ·  {distance:.3g}", right)
        for image, distance, right in zip(found.images, found.distances, found.right, strict=True)
    ]
    return SheetRow(Tile(features.paths[found.query], f"pid {int(features.pids[found.query])}"), results)


def _draw_tsne(args: argparse.Namespace, cfg: CfgNode, features: FeatureSet) -> None:
    if args.thumbnails:
        require_paths(features, "--thumbnails")
    # Before the minutes that the places take.
    require("matplotlib", "viz", "the picture of a t-SNE")
    features.check()
    rankings = Rankings.from_config(cfg)
    kept = choose_images(features, images=args.images, identities=args.identities, order=args.order, seed=args.seed)
    values = rankings.normalized(features).values[kept]
    pids = features.pids[kept]
    what = f"t-SNE of {len(kept)} images of {len(torch.unique_consecutive(pids))} identities"
    get_logger(__name__).info(what)
    places = tsne(values, metric=rankings.metric, seed=args.seed)
    images = [features.paths[image] for image in kept.tolist()] if args.thumbnails else []
    draw_places(args.output, places, pids, images=images, title=f"{features.name}: {what}")


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is below 1")
    return number


def _numbers(word: str) -> list[int]:
    return [int(number) for number in word.split(",")]


_PICTURES = {
    "retrieval": _Picture(
        "queries and their nearest gallery images, in green frames where the identity is right and in red ones where "
        "it is not",
        "Market1501.npz --order worst TEST.RERANK.ENABLED True",
        tuple(_SHEET_FORMATS),
        _retrieval_options,
        _draw_retrieval,
    ),
    "tsne": _Picture(
        "features on a plane, near ones near each other, in the colours of their identities",
        "Market1501.npz --identities 30 --thumbnails",
        FORMATS,
        _tsne_options,
        _draw_tsne,
    ),
}
