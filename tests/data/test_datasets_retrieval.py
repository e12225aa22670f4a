"""CUB200, Cars196, SOP and InShop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from fastreid_ext.data.datasets import CUB200, SOP, Cars196, DatasetError, InShop, build_dataset
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample

MakeFiles = Callable[[Sequence[str]], None]
WriteLines = Callable[[str, Sequence[str]], Path]


def test_cub200(tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    names = ["001.Albatross/a.jpg", "100.Pelican/b.jpg", "101.Pelican/c.jpg", "200.Yellowthroat/d.jpg"]
    make_files([f"CUB_200_2011/images/{name}" for name in names])
    write_lines("CUB_200_2011/images.txt", [f"{i} {name}" for i, name in enumerate(names, start=1)])
    write_lines("CUB_200_2011/image_class_labels.txt", ["1 1", "2 100", "3 101", "4 200"])
    dataset = build_dataset("CUB:strict=False", str(tmp_path))
    paths = [str(tmp_path / "CUB_200_2011/images" / name) for name in names]
    assert dataset.train == [Sample(paths[0], 1, 0), Sample(paths[1], 100, 0)]
    assert dataset.query == dataset.gallery == [Sample(paths[2], 101, 0), Sample(paths[3], 200, 0)]
    assert dataset.protocol == Protocol(camera_rule=False, query_is_gallery=True)
    with pytest.raises(DatasetError, match=r"train_images: 2 instead of 5864.*gallery_images: 2 instead of 5924"):
        CUB200(tmp_path)
    write_lines("CUB_200_2011/image_class_labels.txt", ["1 1", "2 100", "3 101"])
    with pytest.raises(DatasetError, match=r"only one of .* has 4\."):
        CUB200(tmp_path)
    write_lines("CUB_200_2011/image_class_labels.txt", ["1 1", "2"])
    with pytest.raises(DatasetError, match=r"image_class_labels.txt: cannot read '2'"):
        CUB200(tmp_path)


def test_cars196(tmp_path: Path, make_files: MakeFiles) -> None:
    make_files([f"Cars_196/car_ims/{number:06d}.jpg" for number in (1, 2, 3)])
    fields = [("relative_im_path", object), ("class", object), ("test", object)]
    rows = [("car_ims/000001.jpg", 1, 0), ("car_ims/000002.jpg", 98, 1), ("car_ims/000003.jpg", 99, 0)]
    savemat(tmp_path / "Cars_196/cars_annos.mat", {"annotations": np.array([rows], dtype=fields)})
    dataset = Cars196(tmp_path, strict=False)
    paths = [str(tmp_path / "Cars_196" / row[0]) for row in rows]
    assert dataset.train == [Sample(paths[0], 1, 0), Sample(paths[1], 98, 0)]
    assert dataset.query == dataset.gallery == [Sample(paths[2], 99, 0)]
    assert dataset.protocol == Protocol(camera_rule=False, query_is_gallery=True)
    with pytest.raises(DatasetError, match="train_images: 2 instead of 8054"):
        Cars196(tmp_path)


def test_sop(tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    header = "image_id class_id super_class_id path"
    folder = "Stanford_Online_Products"
    make_files([f"{folder}/bicycle_final/a_0.JPG", f"{folder}/chair_final/b_0.JPG"])
    write_lines(f"{folder}/Ebay_train.txt", [header, "1 1 1 bicycle_final/a_0.JPG"])
    write_lines(f"{folder}/Ebay_test.txt", [header, "1 11319 4 chair_final/b_0.JPG"])
    dataset = SOP(tmp_path, strict=False)
    assert dataset.train == [Sample(str(tmp_path / folder / "bicycle_final/a_0.JPG"), 1, 0)]
    assert dataset.query == dataset.gallery
    assert dataset.query == [Sample(str(tmp_path / folder / "chair_final/b_0.JPG"), 11_319, 0)]
    assert dataset.protocol == Protocol(camera_rule=False, query_is_gallery=True)
    with pytest.raises(DatasetError, match="train_images: 1 instead of 59551"):
        SOP(tmp_path)
    write_lines(f"{folder}/Ebay_test.txt", [header, "1 11319 chair_final/b_0.JPG"])
    with pytest.raises(DatasetError, match=r"Ebay_test.txt: cannot read '1 11319 chair_final/b_0.JPG'"):
        SOP(tmp_path)


@pytest.mark.parametrize("above", ["", "Img/"])
def test_inshop(above: str, tmp_path: Path, make_files: MakeFiles, write_lines: WriteLines) -> None:
    names = [f"img/WOMEN/Dresses/id_0000000{item}/0{n}_1_front.jpg" for item, n in ((2, 1), (1, 1), (1, 2))]
    make_files([f"InShop/{above}{name}" for name in names])
    rows = [
        f"{name}  id_0000000{item}  {split}"
        for name, item, split in zip(names, (2, 1, 1), ("train", "query", "gallery"), strict=True)
    ]
    write_lines("InShop/Eval/list_eval_partition.txt", ["3", "image_name item_id evaluation_status", *rows])
    dataset = InShop(tmp_path, strict=False)
    folder = tmp_path / "InShop" / above
    assert dataset.train == [Sample(str(folder / names[0]), 2, 0)]
    assert dataset.query == [Sample(str(folder / names[1]), 1, 0)]
    assert dataset.gallery == [Sample(str(folder / names[2]), 1, 0)]
    assert dataset.protocol == Protocol(camera_rule=False)
    with pytest.raises(DatasetError, match="train_images: 1 instead of 25882"):
        InShop(tmp_path)
    write_lines("InShop/Eval/list_eval_partition.txt", ["1", "header", f"{names[0]} id_2 val"])
    with pytest.raises(DatasetError, match=r"list_eval_partition.txt: cannot read"):
        InShop(tmp_path)
