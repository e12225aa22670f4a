"""The validation report."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.validate import ValidationReport, validate


class Made(ReIDDataset):
    """Samples from (name, pid, camid), with an image for each."""

    def __init__(
        self,
        folder: Path,
        train: list[tuple[str, int, int]],
        query: list[tuple[str, int, int]],
        gallery: list[tuple[str, int, int]],
        protocol: Protocol | None = None,
    ) -> None:
        super().__init__()
        self.train, self.query, self.gallery = (
            [Sample(str(folder / name), pid, camid) for name, pid, camid in split] for split in (train, query, gallery)
        )
        self.protocol = protocol or Protocol()
        for sample in self.train + self.query + self.gallery:
            Image.new("RGB", (8, 16)).save(sample.path)


TRAIN = [("t1.png", 1, 0), ("t2.png", 1, 1), ("t3.png", 1, 1), ("t4.png", 2, 0)]
QUERY = [("q1.png", 3, 0)]
GALLERY = [("g1.png", 3, 1), ("g2.png", -1, 0)]


def problems(report: ValidationReport) -> dict[str, tuple[str, ...]]:
    return {finding.problem: finding.items for finding in report.findings}


def test_a_good_set(tmp_path: Path) -> None:
    report = validate(Made(tmp_path, TRAIN, QUERY, GALLERY), decode=True)
    assert report.ok
    train, query, gallery = report.statistics
    assert tuple(vars(train).values()) == ("train", 4, 2, 2, 1, 2, 3)
    assert tuple(vars(query).values()) == ("query", 1, 1, 1, 1, 1, 1)
    assert tuple(vars(gallery).values()) == ("gallery", 2, 1, 2, 1, 1, 1)
    assert "Nothing wrong was found." in report.to_text()
    assert "Made" in report.to_text()


def test_missing_files(tmp_path: Path) -> None:
    dataset = Made(tmp_path, TRAIN, QUERY, GALLERY)
    (tmp_path / "t2.png").unlink()
    report = validate(dataset, decode=True)
    assert problems(report) == {"images not found": (str(tmp_path / "t2.png"),)}
    assert str(tmp_path / "t2.png") in report.to_text()
    assert not report.ok


def test_identities_and_images_in_both_train_and_test(tmp_path: Path) -> None:
    gallery = [*GALLERY, ("g3.png", 2, 0), ("t4.png", 2, 0)]
    report = validate(Made(tmp_path, TRAIN, QUERY, gallery))
    assert problems(report) == {
        "identities in both train and test": ("2",),
        "images in both train and test": (str(tmp_path / "t4.png"),),
    }


def test_paths_listed_twice(tmp_path: Path) -> None:
    report = validate(Made(tmp_path, [*TRAIN, TRAIN[0]], QUERY, GALLERY))
    assert problems(report) == {"paths more than once in a split": (str(tmp_path / "t1.png"),)}


@pytest.mark.parametrize(
    ("camid", "camera_rule", "matches"), [(1, True, True), (0, True, False), (0, False, True), (1, False, True)]
)
def test_queries_without_a_match(camid: int, camera_rule: bool, matches: bool, tmp_path: Path) -> None:
    dataset = Made(tmp_path, TRAIN, QUERY, [("g1.png", 3, camid)], Protocol(camera_rule=camera_rule))
    expected = (
        {}
        if matches
        else {"queries without a match in the gallery, which evaluation leaves out": (str(tmp_path / "q1.png"),)}
    )
    assert problems(validate(dataset)) == expected


def test_a_query_that_is_gallery_needs_another_image(tmp_path: Path) -> None:
    test = [("a.png", 5, 0), ("b.png", 5, 0), ("c.png", 6, 0)]
    protocol = Protocol(camera_rule=False, query_is_gallery=True)
    report = validate(Made(tmp_path, TRAIN, test, test, protocol))
    assert [finding.items for finding in report.findings] == [(str(tmp_path / "c.png"),)]
    report = validate(Made(tmp_path, TRAIN, test[:2], test[:2], Protocol(camera_rule=False)))
    assert list(problems(report)) == ["queries that are gallery images too"]


def test_unreadable_images_only_when_decoding(tmp_path: Path) -> None:
    dataset = Made(tmp_path, TRAIN, QUERY, GALLERY)
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "t1.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "t2.png").write_bytes(b"")
    (tmp_path / "q1.png").write_text("no image")
    assert validate(dataset).ok
    items = problems(validate(dataset, decode=True))["images that cannot be read"]
    assert [item.split(" ")[0] for item in items] == [str(tmp_path / name) for name in ("q1.png", "t1.png", "t2.png")]
    assert "truncated" in items[1]


def test_whatever_the_decoder_raises_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad_tag(image: Image.Image) -> Image.Image:
        raise TypeError("a bad EXIF tag")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", bad_tag)
    found = problems(validate(Made(tmp_path, TRAIN, QUERY, GALLERY), decode=True))["images that cannot be read"]
    assert len(found) == 7
    assert all("a bad EXIF tag" in item for item in found)


def test_a_junk_query_has_no_match(tmp_path: Path) -> None:
    dataset = Made(tmp_path, TRAIN, [*QUERY, ("q2.png", -1, 1)], GALLERY)
    assert list(problems(validate(dataset)).values()) == [(str(tmp_path / "q2.png"),)]


def test_long_findings_are_cut(tmp_path: Path) -> None:
    dataset = Made(tmp_path, TRAIN, QUERY, GALLERY)
    dataset.train += [Sample(str(tmp_path / f"gone{number:02d}.png"), 9, 0) for number in range(12)]
    text = validate(dataset).to_text()
    assert "12 images not found" in text
    assert "gone09.png" in text
    assert "gone10.png" not in text
    assert "... and 2 more" in text
