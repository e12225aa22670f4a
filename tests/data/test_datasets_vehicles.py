"""VehicleID with its trials, VERI-Wild with its sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fastreid_ext.data.datasets import DatasetError, SmallVehicleID, SmallVeRiWild, VehicleID, VeRiWild, build_dataset
from fastreid_ext.data.sample import Sample

MakeFiles = Callable[[Sequence[str]], None]
WriteLines = Callable[[str, Sequence[str]], Path]

TEST = [("0000011", 5), ("0000012", 5), ("0000013", 5), ("0000021", 6), ("0000022", 6), ("0000031", 7)]


@pytest.fixture
def vehicleid(make_files: MakeFiles, write_lines: WriteLines) -> None:
    write_lines("vehicleid/train_test_split/train_list.txt", ["0000002 1", "0000001 2"])
    for size in (800, 13164):
        lines = [f"{image} {vehicle}" for image, vehicle in TEST]
        write_lines(f"vehicleid/train_test_split/test_list_{size}.txt", lines)
    make_files([f"vehicleid/image/{image}.jpg" for image, _ in [*TEST, ("0000001", 1), ("0000002", 2)]])


@pytest.mark.usefixtures("vehicleid")
def test_vehicleid_samples(tmp_path: Path) -> None:
    dataset = SmallVehicleID(tmp_path, strict=False)
    folder = tmp_path / "vehicleid/image"
    assert dataset.train == [Sample(str(folder / "0000002.jpg"), 1, 0), Sample(str(folder / "0000001.jpg"), 2, 0)]
    test = [Sample(str(folder / f"{image}.jpg"), vehicle, 0) for image, vehicle in TEST]
    assert sorted(dataset.query + dataset.gallery) == test
    assert not dataset.protocol.camera_rule
    assert VehicleID(tmp_path, strict=False).size == 13164


@pytest.mark.usefixtures("vehicleid")
def test_vehicleid_trials_have_one_gallery_image_a_vehicle_and_are_reproducible(tmp_path: Path) -> None:
    dataset = SmallVehicleID(tmp_path, strict=False)
    trials = dataset.trials()
    assert len(trials) == dataset.protocol.trials == 10
    assert trials[0] == (dataset.query, dataset.gallery)
    for query, gallery in trials:
        assert [sample.pid for sample in gallery] == [5, 6, 7]
        assert Counter(sample.pid for sample in query) == {5: 2, 6: 1}
        assert not {sample.path for sample in query} & {sample.path for sample in gallery}
    assert len({tuple(gallery) for _, gallery in trials}) > 1
    assert SmallVehicleID(tmp_path, strict=False).trials() == trials
    assert SmallVehicleID(tmp_path, seed=3, trials=2, strict=False).trials() == trials[3:5]


@pytest.mark.usefixtures("vehicleid")
def test_vehicleid_errors(tmp_path: Path, write_lines: WriteLines) -> None:
    with pytest.raises(DatasetError, match="train_ids: 2 instead of 13164; gallery_images: 3 instead of 800"):
        SmallVehicleID(tmp_path)
    with pytest.raises(DatasetError, match="of 800, 1600, 2400, 13164 vehicles, not of 801"):
        build_dataset("VehicleID:size=801", str(tmp_path))
    with pytest.raises(DatasetError, match=r"test_list_1600.txt"):
        build_dataset("VehicleID:size=1600", str(tmp_path))
    write_lines("vehicleid/train_test_split/train_list.txt", ["0000002;1"])
    with pytest.raises(DatasetError, match=r"train_list.txt: cannot read '0000002;1'"):
        SmallVehicleID(tmp_path)


@pytest.fixture
def veriwild(make_files: MakeFiles, write_lines: WriteLines) -> None:
    cameras = {"00001/000001": 59, "00002/000007": 3, "00002/000008": 174, "00009/000009": 3}
    make_files([f"VERI-Wild/images/{image}.jpg" for image in cameras])
    info = [f"{image};{camera};2018-03-21 10:00:00;Audi;SUV;red" for image, camera in cameras.items()]
    write_lines("VERI-Wild/train_test_split/vehicle_info.txt", ["id/image;Camera ID;Time;Model;Type;Colour", *info])
    write_lines("VERI-Wild/train_test_split/train_list.txt", ["00001/000001"])
    for vehicles in (3000, 10000):
        write_lines(f"VERI-Wild/train_test_split/test_{vehicles}_query.txt", ["00002/000008"])
        write_lines(f"VERI-Wild/train_test_split/test_{vehicles}.txt", ["00009/000009", "00002/000007"])


@pytest.mark.usefixtures("veriwild")
def test_veriwild_samples(tmp_path: Path) -> None:
    folder = tmp_path / "VERI-Wild/images"
    for dataset in (SmallVeRiWild(tmp_path, strict=False), VeRiWild(tmp_path, strict=False)):
        assert dataset.train == [Sample(str(folder / "00001/000001.jpg"), 1, 1)]
        assert dataset.query == [Sample(str(folder / "00002/000008.jpg"), 2, 2)]
        assert dataset.gallery == [
            Sample(str(folder / "00009/000009.jpg"), 9, 0),
            Sample(str(folder / "00002/000007.jpg"), 2, 0),
        ]
    assert VeRiWild(tmp_path, strict=False).published()["gallery_images"] == 128_517


@pytest.mark.usefixtures("veriwild")
def test_veriwild_errors(tmp_path: Path, write_lines: WriteLines) -> None:
    with pytest.raises(DatasetError, match=r"query_images: 1 instead of 3000.*gallery_images: 2 instead of 38861"):
        SmallVeRiWild(tmp_path)
    with pytest.raises(DatasetError, match="small, medium, large, not 'tiny'"):
        build_dataset("VeRiWild:size=tiny", str(tmp_path))
    write_lines("VERI-Wild/train_test_split/train_list.txt", ["00001/000099"])
    with pytest.raises(DatasetError, match="no camera for 00001/000099"):
        SmallVeRiWild(tmp_path)
    write_lines("VERI-Wild/train_test_split/vehicle_info.txt", ["id/image;Camera ID", "00001/000099"])
    with pytest.raises(DatasetError, match=r"vehicle_info.txt: cannot read '00001/000099'"):
        SmallVeRiWild(tmp_path)
