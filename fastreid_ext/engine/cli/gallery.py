"""Galleries of images that are searched by images: `tools/gallery.py`, `fastreid-ext-gallery`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from fastreid_ext.data.datasets.files import IMAGE_SUFFIXES
from fastreid_ext.engine.cli.arguments import is_key
from fastreid_ext.engine.cli.errors import run
from fastreid_ext.engine.cli.first_word import first_word, parser_of
from fastreid_ext.evaluation.retrieval_sheet import SheetRow, Tile, retrieval_sheet
from fastreid_ext.gallery import LAYOUTS, Gallery, GalleryError, Hit, items_of
from fastreid_ext.index import KINDS
from fastreid_ext.inference import Predictor, images_in
from fastreid_ext.utils.files import atomic_write, write_json
from fastreid_ext.utils.logger import get_logger, setup_logger

__all__ = ["main"]

_DESCRIPTION = "Search folders of images with images. A gallery is a folder of embeddings, of one model."
_PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@dataclass(frozen=True)
class _Command:
    """What can be done: its words, its options, and what does it with words and `KEY VALUE` pairs."""

    help: str
    words: str
    example: str
    least: int
    add_options: Callable[[argparse.ArgumentParser], None]
    program: Callable[[argparse.Namespace, list[str], list[str]], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and builds, extends or searches a gallery."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = first_word(words, "command", {name: command.help for name, command in _COMMANDS.items()}, _DESCRIPTION)
    command, parser = _COMMANDS[name], _command_parser(name)
    args = parser.parse_intermixed_args(words[1:])
    first_key = next((i for i, word in enumerate(args.words) if _is_option(word)), len(args.words))
    names, options = args.words[:first_key], args.words[first_key:]
    if len(names) < command.least:
        parser.error(f"expected {command.words}")
    run(lambda: _program(command, args, names, options))


def _is_option(word: str) -> bool:
    """A config key; WHO.JPG looks like one, too."""
    return is_key(word) and Path(word).suffix.lower() not in IMAGE_SUFFIXES and not Path(word).exists()


def _command_parser(name: str) -> argparse.ArgumentParser:
    command = _COMMANDS[name]
    parser = parser_of(name, f"{command.words} [option ...]", description=command.help, example=command.example)
    parser.add_argument("words", nargs="*", metavar=command.words, help="behind them config keys for the model")
    command.add_options(parser)
    return parser


def _program(command: _Command, args: argparse.Namespace, names: list[str], options: list[str]) -> None:
    setup_logger()
    command.program(args, names, options)


def _build_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, metavar="GALLERY", help="folder to make")
    _index_options(parser)
    parser.set_defaults(kind="auto", recall=0.95)
    parser.add_argument("--half", action="store_true", help="keep embeddings in float16: half of the disk")
    _image_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="MODEL", help="(default: the one that the gallery was built with)")
    parser.add_argument("--update", action="store_true", help="embed images anew whose file or labels have changed")
    _image_options(parser)


def _image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="none",
        help="what names of files in folders say: market is 0002_c1s1_anything.jpg, identity and camera",
    )
    _device_option(parser)


def _device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="of the model: cpu, cuda (default: cuda where there is one)")


def _search_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="MODEL", help="(default: the one that the gallery was built with)")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="images to find (default: 10)")
    parser.add_argument("--json", metavar="FILE", help="write what was found there")
    parser.add_argument("--picture", metavar="FILE", help=f"draw what was found: {', '.join(_PICTURES)}")
    _device_option(parser)


def _index_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", choices=KINDS, help="of index; auto goes by the number of images")
    parser.add_argument("--recall", type=float, metavar="SHARE", help="that an approximate index is to reach: 0.95")


def _info_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write it there")


def _build(args: argparse.Namespace, names: list[str], options: list[str]) -> None:
    source, *folders = names
    # Before the model is loaded.
    items = items_of(folders, layout=args.layout)
    model = Predictor(source, device=args.device, options=options)
    gallery = Gallery.build(
        args.output,
        model,
        items,
        kind=args.kind,
        recall=args.recall,
        vectors="float16" if args.half else "float32",
        source=str(Path(source).absolute()) if Path(source).exists() else source,
        options=options,
    )
    _describe(gallery)


def _add(args: argparse.Namespace, names: list[str], options: list[str]) -> None:
    folder, *folders = names
    gallery = Gallery(folder)
    items = items_of(folders, layout=args.layout)
    gallery.add(_model(gallery, args, options), items, update=args.update)
    _describe(gallery)


def _search(args: argparse.Namespace, names: list[str], options: list[str]) -> None:
    folder, *sources = names
    if args.top < 1:
        raise GalleryError(f"--top is {args.top}; it must be at least 1")
    if args.picture and Path(args.picture).suffix.lower() not in _PICTURES:
        raise GalleryError(f"--picture {args.picture}: the name of the picture ends in {', '.join(_PICTURES)}")
    images = [str(image) for source in sources for image in (images_in(source) if Path(source).is_dir() else [source])]
    if not images:
        raise GalleryError(f"no images in {', '.join(sources)}")
    gallery = Gallery(folder)
    found = gallery.search_images(_model(gallery, args, options), images, args.top)
    for query, hits in zip(images, found, strict=True):
        rows = [(i, h.distance, h.item.pid, h.item.camid, h.item.path) for i, h in enumerate(hits, start=1)]
        print(f"{query}\n{tabulate(rows, headers=['', 'distance', 'pid', 'camid', 'path'], floatfmt='.4f')}\n")
    if args.json:
        pairs = zip(images, found, strict=True)
        write_json(args.json, [{"query": query, "found": [_as_dict(hit) for hit in hits]} for query, hits in pairs])
    if args.picture:
        _draw(gallery, args.picture, images, found)


def _info(args: argparse.Namespace, names: list[str], options: list[str]) -> None:
    gallery = Gallery(names[0])
    facts = gallery.facts()
    print(tabulate(facts.items(), tablefmt="plain"))
    if args.json:
        write_json(args.json, facts)
    gallery.check()


def _rebuild(args: argparse.Namespace, names: list[str], options: list[str]) -> None:
    gallery = Gallery(names[0])
    gallery.rebuild(kind=args.kind, recall=args.recall)
    _describe(gallery)


def _model(gallery: Gallery, args: argparse.Namespace, options: list[str]) -> Predictor:
    facts = gallery.facts()
    source = args.model or facts["model"]
    if not source:
        raise GalleryError(f"{gallery.folder} does not say where its model is: name it with --model")
    # Of the same key the last value counts.
    return Predictor(source, device=args.device, options=options if args.model else [*facts["options"], *options])


def _describe(gallery: Gallery) -> None:
    facts = gallery.facts()
    recall = f", recall@10 {facts['recall']:.3f}" if facts["recall"] is not None else ""
    get_logger(__name__).info(f"{gallery.folder}: {facts['images']:,} images, index {facts['index']}{recall}")


def _as_dict(hit: Hit) -> dict[str, object]:
    return {"path": hit.item.path, "pid": hit.item.pid, "camid": hit.item.camid, "distance": hit.distance}


def _draw(gallery: Gallery, path: str, images: Sequence[str], found: Sequence[Sequence[Hit]]) -> None:
    rows = [
        SheetRow(Tile(query, Path(query).name), [Tile(hit.item.path, _caption(hit)) for hit in hits])
        for query, hits in zip(images, found, strict=True)
    ]
    sheet = retrieval_sheet(rows, f"{gallery.folder.absolute().name}: {gallery.card.metric} distance")
    with atomic_write(path, "wb") as file:
        sheet.save(file, _PICTURES[Path(path).suffix.lower()], quality=92)
    get_logger(__name__).info(f"written: {path}")


def _caption(hit: Hit) -> str:
    return f"{hit.distance:.3g}" if hit.item.pid is None else f"pid {hit.item.pid}  ·  {hit.distance:.3g}"


_COMMANDS = {
    "build": _Command(
        "embed the images of folders, or of tables with the columns path, pid, camid, into a new gallery",
        "MODEL FOLDER_OR_CSV ... [KEY VALUE ...]",
        "logs/mine photos/ --output photos.gallery --layout market",
        2,
        _build_options,
        _build,
    ),
    "add": _Command(
        "add images; those that are in are passed over",
        "GALLERY FOLDER_OR_CSV ... [KEY VALUE ...]",
        "photos.gallery more-photos/",
        2,
        _add_options,
        _add,
    ),
    "search": _Command(
        "find the images that are nearest to some",
        "GALLERY IMAGE_OR_FOLDER ... [KEY VALUE ...]",
        "photos.gallery who.jpg --top 5 --picture found.png",
        2,
        _search_options,
        _search,
    ),
    "info": _Command(
        "tell what is in a gallery, and check its files", "GALLERY", "photos.gallery", 1, _info_options, _info
    ),
    "rebuild": _Command(
        "make the index again from the embeddings, without the model",
        "GALLERY",
        "photos.gallery --kind hnsw",
        1,
        _index_options,
        _rebuild,
    ),
}
