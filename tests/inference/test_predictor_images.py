"""Images of any kind, one and many, whole and damaged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.data.decode import decode
from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.inference import Predictor, images_in
from fastreid_ext.inference.images import UnreadableImages, as_list, image_bytes

SIZE = (32, 16)


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return Predictor(checkpoint, batch_size=3, threads=2)


def png(images: list[Path]) -> Path:
    """A PNG, which all decoders read alike."""
    return images[1]


def test_every_kind_of_image_gives_the_same_bytes(images: list[Path]) -> None:
    path = png(images)
    expected = decode(path, SIZE)
    array = np.asarray(Image.open(path))
    kinds: dict[str, Any] = {
        "path": str(path),
        "pil": Image.open(path),
        "array": array,
        "floats": array / 255,
        "turned view": array[::-1][::-1],
        "tensor": torch.from_numpy(array.copy()).permute(2, 0, 1),
        "float tensor": torch.from_numpy(array / 255).permute(2, 0, 1).half().requires_grad_(),
    }
    for name, image in kinds.items():
        assert torch.equal(image_bytes(image, SIZE), expected), name


def test_floats_are_rounded_to_the_bytes_that_they_were() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, -1, -1)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(image_bytes(levels.to(dtype) / 255, (16, 16)), levels)


def test_grey_images_are_grey(images: list[Path]) -> None:
    array = np.asarray(Image.open(png(images)).convert("L"))
    expected = image_bytes(np.stack([array] * 3, axis=-1), SIZE)
    for grey in (array, array[..., None], Image.fromarray(array), torch.from_numpy(array.copy())[None]):
        assert torch.equal(image_bytes(grey, SIZE), expected)


def test_a_pil_image_is_turned_upright_as_its_file_is(tmp_path: Path) -> None:
    pixels = np.arange(32 * 16 * 3, dtype=np.uint8).reshape(16, 32, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert torch.equal(image_bytes(image, SIZE), decode(tmp_path / "turned.png", SIZE))


def test_one_or_many(predictor: Predictor, images: list[Path]) -> None:
    together = predictor.embed(images)
    assert together.shape == (7, predictor.card.dim) and together.dtype == torch.float32
    assert torch.equal(predictor(images), together)
    for number in (0, 1):
        torch.testing.assert_close(predictor.embed(images[number]), together[number : number + 1])
        torch.testing.assert_close(predictor.embed(str(images[number])), together[number : number + 1])
    arrays = np.stack([np.asarray(Image.open(path).convert("RGB").resize((16, 32))) for path in images])
    tensors = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    assert torch.equal(predictor.embed(arrays), predictor.embed(tensors))
    assert torch.equal(predictor.embed(list(arrays)), predictor.embed(arrays))
    assert len(predictor.embed(arrays[0])) == len(predictor.embed(tensors[0])) == 1


@pytest.mark.parametrize("nothing", [[], iter([]), np.empty((0, 4, 4, 3), np.uint8), torch.empty(0, 3, 4, 4)])
def test_nothing_gives_no_rows(predictor: Predictor, nothing: Any) -> None:
    assert predictor.embed(nothing).shape == (0, predictor.card.dim)
    assert list(predictor.stream([])) == []


def test_a_folder_stands_for_its_images(predictor: Predictor, images: list[Path], tmp_path: Path) -> None:
    folder = images[0].parents[1]
    listed = images_in(folder)
    assert listed == sorted(images) and as_list(folder) == listed
    assert torch.equal(predictor.embed(folder), predictor.embed(listed))
    (tmp_path / ".hidden").mkdir()
    for name in ("b.JPG", "a.txt", ".c.jpg", ".hidden/d.jpg"):
        (tmp_path / name).touch()
    assert images_in(tmp_path) == [tmp_path / "b.JPG"]
    (tmp_path / "b.JPG").unlink()
    with pytest.raises(ValueError, match=r"no images in .*: their names end in \.jpg"):
        predictor.embed(tmp_path)
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        images_in(tmp_path / "nowhere")


def test_a_stream_keeps_order_and_carries_errors(predictor: Predictor, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(images[0].read_bytes()[:200])
    items: list[Any] = [
        images[0],
        tmp_path / "cut.jpg",
        str(images[1]),
        tmp_path / "none.png",
        *images[2:],
        tmp_path / "cut.jpg",
    ]
    results = list(predictor.stream(iter(items)))
    assert [result.item for result in results] == items
    readable = [result for result in results if result.error is None]
    embeddings = torch.stack([result.embedding for result in readable if result.embedding is not None])
    torch.testing.assert_close(embeddings, predictor.embed(images))
    errors = [result for result in results if result.embedding is None]
    assert [items.index(error.item) for error in errors] == [1, 3, 1]
    assert all(isinstance(error.error, UnreadableImage) for error in errors)
    assert "none.png: no such file" in str(errors[1].error)


def test_a_stream_reads_only_a_little_ahead(predictor: Predictor, images: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield images[taken % len(images)]

    stream = predictor.stream(endless())
    for _ in range(20):
        next(stream)
    assert taken <= 20 + 4 * predictor.batch_size
    stream.close()  # type: ignore[attr-defined]


def test_rows_of_a_stream_do_not_hold_their_batch(predictor: Predictor, images: list[Path]) -> None:
    (first, *_) = predictor.stream(images)
    assert first.embedding is not None
    assert first.embedding.untyped_storage().nbytes() == 4 * predictor.card.dim


def test_an_error_of_the_iterable_comes_through(predictor: Predictor, images: list[Path]) -> None:
    def broken() -> Iterator[Path]:
        yield images[0]
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        list(predictor.stream(broken()))


def test_embed_lists_all_that_it_cannot_read(predictor: Predictor, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    bad: list[Any] = [tmp_path / "empty.jpg", images[0], tmp_path / "none.png", np.zeros((4, 4, 2), np.uint8)]
    with pytest.raises(UnreadableImages) as caught:
        predictor.embed(bad)
    message = str(caught.value)
    assert message.startswith("3 images cannot be read:") and len(caught.value.errors) == 3
    for part in ("empty.jpg: the file is empty", "none.png: no such file", "image 3: an array (4, 4, 2) of uint8"):
        assert part in message
    with pytest.raises(UnreadableImage, match=r"^[^\n]*none.png: no such file$"):
        predictor.embed(tmp_path / "none.png")
    many = UnreadableImages([UnreadableImage(str(number), "gone") for number in range(30)])
    assert "and 10 more" in str(many)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"its shape should be \(H, W, 3\)"),
        (np.zeros((3, 4, 5), np.uint8), r"its shape should be \(H, W, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"its shape should be \(H, W, 3\)"),
        (torch.zeros(4, 4, 3), r"its shape should be \(3, H, W\)"),
        (np.zeros((4, 4, 3), np.int64), "should be uint8"),
        (np.full((4, 4, 3), 255.0), "between 0 and 1: divide by 255"),
        (torch.full((3, 4, 4), torch.nan), "between 0 and 1"),
    ],
)
def test_pixels_that_are_none(predictor: Predictor, image: Any, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        predictor.embed([image])


def test_a_damaged_file_that_pil_has_opened(predictor: Predictor, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(png(images).read_bytes()[:150])
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(UnreadableImage, match=r"cut\.png: "):
        predictor.embed(image)


@pytest.mark.parametrize("thing", [3, [None], {"a": 1}])
def test_what_is_no_image(predictor: Predictor, thing: Any) -> None:
    with pytest.raises((TypeError, UnreadableImage), match=r"path|no such file"):
        predictor.embed(thing)


def test_several_threads_may_ask_at_once(predictor: Predictor, images: list[Path]) -> None:
    expected = [predictor.embed([path, path]) for path in images]
    found: dict[int, torch.Tensor] = {}

    def ask(number: int) -> None:
        found[number] = predictor.embed([images[number], images[number]])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, embeddings in enumerate(expected):
        torch.testing.assert_close(found[number], embeddings)


def test_asking_changes_no_setting_of_the_caller(predictor: Predictor, images: list[Path]) -> None:
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    predictor.embed(images)
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)


def test_a_batch_of_nothing_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        Predictor(checkpoint, batch_size=0)
    assert Predictor(checkpoint, options=["TEST.IMS_PER_BATCH", 5]).batch_size == 5
