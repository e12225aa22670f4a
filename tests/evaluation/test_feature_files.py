"""Files of features: ours come back bit for bit, users' own are understood, and faults are told in a sentence."""

import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation.feature_files import FeatureFileError, check_format, join, load_features, save_features
from fastreid_ext.evaluation.feature_set import FeatureSet

N = 6


def feature_set(**changes: Any) -> FeatureSet:
    """Two trials, paths with characters that formats may mind, the last of them no UTF-8."""
    values: dict[str, Any] = {
        "name": "CUHK03:labeled=False,protocol=classic",
        "values": torch.randn(N, 4),
        "pids": torch.tensor([3, 3, -1, 2**40, 5, 5]),
        "camids": torch.tensor([0, 1, 0, 1, 2, 0]),
        "trials": [(torch.tensor([0, 4]), torch.tensor([1, 2, 3, 5])), (torch.tensor([1]), torch.tensor([5, 0]))],
        "protocol": Protocol(camera_rule=False, single_gallery_shot=3, trials=2, seed=7),
        "paths": ["a.jpg", "b c.jpg", "日本.jpg", 'quo"te\n.jpg', "", os.fsdecode(b"caf\xe9.jpg")],
    }
    return FeatureSet(**{**values, **changes})


def arrays(**changes: Any) -> dict[str, Any]:
    """A user's file; `None` leaves an array out."""
    values: dict[str, Any] = {
        "features": np.eye(N, 4, dtype=np.float32) + 1,
        "pids": np.array([0, 0, 1, 1, 2, 2]),
        "camids": np.array([0, 1, 0, 1, 0, 1]),
        "query": np.array([0, 2, 4]),
        "gallery": np.array([1, 3, 5]),
    }
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., FeatureSet]:
    """Saves arrays with numpy, as a user does, and loads them."""

    def save_and_load(**changes: Any) -> FeatureSet:
        np.savez(tmp_path / "mine.npz", **arrays(**changes))
        return load_features(tmp_path / "mine.npz")

    return save_and_load


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What the library warns of; it may not propagate to pytest's own handler."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Handler(logging.WARNING)
    logging.getLogger("fastreid_ext").addHandler(handler)
    yield messages
    logging.getLogger("fastreid_ext").removeHandler(handler)


def split_of(loaded: FeatureSet) -> list[tuple[list[int], list[int]]]:
    return [(query.tolist(), gallery.tolist()) for query, gallery in loaded.trials]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("paths", [True, False])
def test_round_trip_is_bit_equal(suffix: str, paths: bool, tmp_path: Path) -> None:
    saved = feature_set() if paths else feature_set(paths=[])
    saved.values[0, 0], saved.values[1, 1] = 1e-42, -0.0
    save_features(tmp_path / f"new/folder/a{suffix}", saved)
    loaded = load_features(tmp_path / f"new/folder/a{suffix}")
    assert torch.equal(loaded.values.view(torch.int32), saved.values.view(torch.int32))
    assert torch.equal(loaded.pids, saved.pids) and torch.equal(loaded.camids, saved.camids)
    assert {tensor.dtype for tensor in (loaded.pids, loaded.camids, *loaded.trials[0])} == {torch.int64}
    assert split_of(loaded) == split_of(saved)
    assert (loaded.name, loaded.protocol, list(loaded.paths)) == (saved.name, saved.protocol, saved.paths)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_query_and_gallery_may_be_one_tensor(suffix: str, tmp_path: Path) -> None:
    every = torch.arange(N)
    rules = Protocol(camera_rule=False, query_is_gallery=True)
    saved = feature_set(trials=[(every, every), (every, every)], protocol=rules, pids=every, camids=every)
    save_features(tmp_path / f"a{suffix}", saved)
    loaded = load_features(tmp_path / f"a{suffix}")
    assert split_of(loaded) == split_of(saved) and loaded.protocol == saved.protocol


def test_numpy_reads_our_file(tmp_path: Path) -> None:
    saved = feature_set()
    save_features(tmp_path / "a.npz", saved)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["features"].dtype == np.float32 and file["pids"].dtype == file["query_1"].dtype == np.int64
        assert file["paths"].tolist() == saved.paths
        info = json.loads(str(file["info"]))
    assert info == {"version": 1, "name": saved.name, "protocol": saved.protocol.describe()}
    assert stat.S_IMODE((tmp_path / "a.npz").stat().st_mode) & 0o600 == 0o600


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_is_replaced_whole_or_not_at_all(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a{suffix}"
    save_features(path, feature_set())
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=f"cannot write .*a{suffix}.*No space left"):
        save_features(path, feature_set())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_features_and_pids_are_enough(load: Callable[..., FeatureSet]) -> None:
    loaded = load(camids=None, query=None, gallery=None)
    assert split_of(loaded) == [(list(range(N)), list(range(N)))]
    assert loaded.protocol == Protocol(camera_rule=False, query_is_gallery=True)
    assert (loaded.name, list(loaded.paths)) == ("mine", [])
    # Cameras without a split are kept, but change nothing.
    assert load(query=None, gallery=None).protocol == loaded.protocol


SPLITS: list[tuple[dict[str, Any], list[tuple[list[int], list[int]]]]] = [
    ({}, [([0, 2, 4], [1, 3, 5])]),
    ({"gallery": None}, [([0, 2, 4], [1, 3, 5])]),
    ({"query": None, "gallery": None, "is_query": np.arange(N) == 3}, [([3], [0, 1, 2, 4, 5])]),
    (
        {"query": None, "gallery": None, "is_query": np.arange(N) == 3, "is_gallery": np.arange(N) < 2},
        [([3], [0, 1])],
    ),
    (
        {
            "query": None,
            "gallery": None,
            "query_0": [5],
            "gallery_0": [0],
            "query_1": [1, 0],
            "gallery_1": [3, 2],
        },
        [([5], [0]), ([1, 0], [3, 2])],
    ),
]


@pytest.mark.parametrize(("changes", "expected"), SPLITS)
def test_splits(
    changes: dict[str, Any], expected: list[tuple[list[int], list[int]]], load: Callable[..., FeatureSet]
) -> None:
    loaded = load(**changes)
    assert split_of(loaded) == expected
    assert loaded.protocol == Protocol(camera_rule=True)
    assert load(**changes, **({} if "camids" in changes else {"camids": None})).protocol == Protocol(camera_rule=False)


def test_the_same_list_twice_is_query_is_gallery(load: Callable[..., FeatureSet]) -> None:
    same = np.array([0, 1, 2, 3])
    assert load(query=same, gallery=same, camids=None).protocol == Protocol(camera_rule=False, query_is_gallery=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8"])
def test_numbers_of_any_width(dtype: str, load: Callable[..., FeatureSet]) -> None:
    values = np.linspace(-1, 1, 4 * N).reshape(4, N).T.astype(dtype)
    loaded = load(features=values, pids=np.arange(N, dtype=np.uint8), camids=np.zeros(N, dtype=">i2"))
    assert loaded.values.dtype == torch.float32 and loaded.pids.dtype == loaded.camids.dtype == torch.int64
    assert np.array_equal(loaded.values.numpy(), values.astype(np.float32))


def test_a_compressed_file(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **arrays())
    assert torch.equal(load_features(tmp_path / "a.npz").values, torch.as_tensor(arrays()["features"]))


def test_part_of_info(load: Callable[..., FeatureSet]) -> None:
    loaded = load(info=json.dumps({"name": "other", "protocol": {"camera_rule": False, "seed": 3}}))
    assert (loaded.name, loaded.protocol) == ("other", Protocol(camera_rule=False, seed=3))
    assert load(paths=np.array([b"a", b"b", b"c", b"d", b"e", "é".encode()])).paths[-1] == "é"


def test_safetensors_of_a_user(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {name: torch.as_tensor(value) for name, value in arrays(camids=None).items()}
    tensors["features"] = tensors["features"].bfloat16()
    save_file(tensors, tmp_path / "mine.safetensors")
    loaded = load_features(tmp_path / "mine.safetensors")
    assert torch.equal(loaded.values, tensors["features"].float())
    assert (split_of(loaded), loaded.protocol) == ([([0, 2, 4], [1, 3, 5])], Protocol(camera_rule=False))
    for content, message in (
        (b"\0\0\0", r"the bytes .uint8. of a JSON list"),
        (b'["\xff"]', r"the bytes .uint8. of a JSON list of strings: .*0xff"),
        (b"[1, null]", r"a JSON list of strings; got \[1, None\]"),
        (b'"abcdef"', r"a JSON list of strings; got abcdef"),
    ):
        paths = torch.tensor(list(content), dtype=torch.uint8)
        save_file({**tensors, "paths": paths}, tmp_path / "mine.safetensors")
        with pytest.raises(FeatureFileError, match=rf"mine.safetensors: paths must be {message}"):
            load_features(tmp_path / "mine.safetensors")


def test_other_arrays_are_passed_over(load: Callable[..., FeatureSet], warnings: list[str]) -> None:
    # Near the name of an array that is there, or of another form of the split than the one that is used.
    load(path=PATHS, speed=np.zeros(N), camid=np.zeros(N), is_quer=np.zeros(N), query_00=np.zeros(N))
    assert "array 'path' means nothing here and is passed over (did you mean paths or parts?)" in warnings
    assert "array 'speed' means nothing here and is passed over" in " ".join(warnings)
    assert len(warnings) == 5
    load(query=None, gallery=None, is_query=np.arange(N) == 0, query_ids=np.arange(N))
    assert len(warnings) == 6


NO_SPLIT: dict[str, Any] = {"query": None, "gallery": None}
TWO_TRIALS: dict[str, Any] = {**NO_SPLIT, "query_0": [0], "gallery_0": [1], "query_1": [2], "gallery_1": [3]}


@pytest.mark.parametrize(
    ("changes", "name", "meant"),
    [
        ({**NO_SPLIT, "is_qery": np.arange(N) == 0}, "is_qery", "is_query"),
        ({**NO_SPLIT, "Query": [0]}, "Query", "query"),
        ({**NO_SPLIT, "query_idx": [0]}, "query_idx", "query"),
        ({**NO_SPLIT, "galery_0": [0]}, "galery_0", "gallery_0"),
        ({**TWO_TRIALS, "qery_2": [0], "galery_2": [1]}, "qery_2", "query_2"),
        ({**TWO_TRIALS, "query_02": [0]}, "query_02", "query_2"),
        ({"gallery": None, "galery": [1]}, "galery", "gallery"),
        ({"camids": None, "camid": np.zeros(N, dtype=int)}, "camid", "camids"),
        ({"camids": None, "camera_ids": np.zeros(N, dtype=int)}, "camera_ids", "camids"),
        ({"pids": None, "pid": np.zeros(N, dtype=int)}, "pid", "pids"),
    ],
)
def test_a_misspelt_split_or_label_is_refused(
    changes: dict[str, Any], name: str, meant: str, load: Callable[..., FeatureSet]
) -> None:
    with pytest.raises(FeatureFileError, match=rf"array '{name}' means nothing here; did you mean .*\b{meant}\b"):
        load(**changes)


def test_the_number_of_a_trial_is_no_amount_of_work(load: Callable[..., FeatureSet]) -> None:
    started = time.monotonic()
    for number in ("99999999", "9" * 5000):
        last = {f"query_{number}": [0], f"gallery_{number}": [1]}
        with pytest.raises(FeatureFileError, match=r"array 'query_0' is missing"):
            load(**NO_SPLIT, **last)
        with pytest.raises(FeatureFileError, match=r"array 'query_2' is missing"):
            load(**TWO_TRIALS, **last)
    assert time.monotonic() - started < 5


def test_what_finds_itself_is_refused_when_evaluated(load: Callable[..., FeatureSet]) -> None:
    with pytest.raises(ValueError, match=r"2 images are query and gallery"):
        load(camids=None, gallery=np.arange(1, N)).check()
    with pytest.raises(ValueError, match=r"3 images are query and gallery"):
        load(gallery=np.arange(N), info='{"protocol": {"camera_rule": false}}').check()
    load(gallery=np.arange(N)).check()


@pytest.mark.parametrize("suffix", [".NPZ", ".SafeTensors"])
def test_suffixes_in_upper_case(suffix: str, tmp_path: Path) -> None:
    saved = feature_set()
    save_features(tmp_path / f"UP{suffix}", saved)
    assert torch.equal(load_features(tmp_path / f"UP{suffix}").values, saved.values)
    content = (tmp_path / f"UP{suffix}").read_bytes()
    assert content.startswith(b"PK") == (suffix == ".NPZ")


NAN = np.ones((N, 4))
NAN[1, 0], NAN[3, 2] = np.nan, np.inf
ALL_NAN = np.full((N, 4), np.nan)
PATHS = np.array([f"{letter}.jpg" for letter in "abcdef"])

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"features": None}, r"array 'features' is missing; there are: camids, gallery, pids, query"),
    ({"pids": None}, r"array 'pids' is missing"),
    (
        {"features": np.ones(N)},
        r"features must be floating-point .* \(images, dimensions\); got float64 of shape \(6,\)",
    ),
    ({"features": np.ones((N, 2), dtype=int)}, r"features must be floating-point .* got int64 of shape \(6, 2\)"),
    ({"features": np.ones((N, 2), dtype=complex)}, r"features must be floating-point .* got complex128"),
    ({"features": np.ones((0, 4))}, r"features must be .* got float64 of shape \(0, 4\)"),
    ({"pids": np.arange(5)}, r"pids must be 6 integers, one an image of features; got int64 of shape \(5,\)"),
    ({"pids": np.zeros((N, 1), dtype=int)}, r"pids must be 6 integers.*\(6, 1\)"),
    ({"pids": np.zeros(N)}, r"pids must be 6 integers.*float64"),
    ({"pids": PATHS}, r"pids must be 6 integers.*numpy.unique\(pids, return_inverse=True\)"),
    ({"camids": np.zeros(N)}, r"camids must be 6 integers.*float64"),
    ({"paths": np.array(["a"])}, r"paths must be 6 strings.*shape \(1,\)"),
    ({"paths": np.arange(N)}, r"paths must be 6 strings.*int64"),
    ({"query": np.array([0, 6, -1])}, r"query has 2 indices out of range, the first is 6 at place 1; .* 0 to 5"),
    ({"query": np.array([0.0])}, r"query must be a list of indices.*float64"),
    ({"query": np.arange(N) == 0}, r"query must be a list of indices.*bool"),
    ({"query": np.array([[0]])}, r"query must be a list of indices.*\(1, 1\)"),
    ({"query": np.array([], dtype=int)}, r"trial 0 has 0 queries and 3 gallery images"),
    ({"query": np.arange(N), "gallery": None}, r"trial 0 has 6 queries and 0 gallery images"),
    ({"query": None}, r"array 'query' is missing"),
    ({"is_query": np.arange(N) == 0}, r"more than once, as query, gallery and as is_query, is_gallery: keep one"),
    ({"query": None, "gallery": None, "is_query": np.arange(N)}, r"is_query must be 6 booleans.*int64"),
    ({"query": None, "gallery": None, "is_query": np.ones(2, bool)}, r"is_query must be 6 booleans.*\(2,\)"),
    ({"query": None, "gallery": None, "query_1": [1], "gallery_1": [0]}, r"array 'query_0' is missing"),
    ({"query": None, "gallery": None, "query_0": [1]}, r"array 'gallery_0' is missing"),
    (
        {"pids": np.full(N, 2**63, np.uint64)},
        r"pids must fit into 64 bits with a sign; the largest is 92233\d+8\.",
    ),
    ({"paths": np.array([b"a", b"\xff", *"bcde"], dtype="S")}, r"paths must be strings, or bytes in UTF-8: .*0xff"),
    ({"info": '{"version": "1"}'}, r"info: version must be a whole number, such as 1; got '1'"),
    ({"info": '{"version": true}'}, r"info: version must be a whole number, such as 1; got True"),
    (
        {"info": '{"protocol": {"query_is_gallery": true}}'},
        r"query_is_gallery on, but query and gallery are not",
    ),
    ({"features": NAN, "paths": PATHS}, r"features of 2 of 6 images hold NaN or infinite values: b.jpg, d.jpg\."),
    ({"features": NAN}, r"features of 2 of 6 images .*: image 1, image 3\."),
    ({"features": ALL_NAN, "paths": PATHS}, r"6 of 6 .*: a.jpg, b.jpg, c.jpg, d.jpg, e.jpg, \.\.\.\."),
    ({"features": np.full((N, 4), 1e300)}, r"features of 6 of 6 images hold NaN or infinite"),
    ({"paths": np.array(["a"] * N, dtype=object)}, r"paths holds Python objects.*may run code.*dtype=str"),
    ({"pids": np.array([None] * N)}, r"pids holds Python objects"),
    ({"info": "{"}, r"info is not JSON"),
    ({"info": np.arange(3)}, r"info must be one string"),
    ({"info": "[1]"}, r"info must be a JSON object"),
    ({"info": '{"protocol": 3}'}, r"info must be a JSON object"),
    ({"info": '{"version": 2}'}, r"a newer fastreid_ext wrote it \(format 2; this one reads up to 1\): update"),
    ({"info": '{"protocol": {"cameras": true}}'}, r"the protocol's cameras is none of camera_rule, "),
    ({"info": '{"protocol": {"trials": true}}'}, r"the protocol's trials takes int; got True"),
    ({"info": '{"protocol": {"trials": 0}}'}, r"trials must be at least 1"),
    ({"info": '{"protocol": {"camera_rule": true}}', "camids": None}, r"camera rule on, but there is no array camids"),
]


@pytest.mark.parametrize(("changes", "message"), FAULTS)
def test_faults_are_told_with_the_file(
    changes: dict[str, Any], message: str, load: Callable[..., FeatureSet], tmp_path: Path
) -> None:
    with pytest.raises(FeatureFileError, match=message) as caught:
        load(**changes)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.npz'}: ")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 40, 0.5, 0.99])
def test_a_truncated_file(suffix: str, keep: float, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    save_features(path, feature_set())
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(FeatureFileError, match=rf"a{suffix}: not a whole \{suffix} file"):
        load_features(path)


def test_damage_within_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_features(path, feature_set(values=torch.full((N, 4), 1.5)))
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(1.5).tobytes() * 4)] ^= 1
    path.write_bytes(content)
    with pytest.raises(FeatureFileError, match=r"not a whole .npz file.*features"):
        load_features(path)


def test_files_of_another_kind(tmp_path: Path) -> None:
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.eye(3))
    torch.save({"features": torch.eye(3)}, tmp_path / "torch.npz")
    (tmp_path / "text.npz").write_text("no features")
    (tmp_path / "text.safetensors").write_text("no features at all, but some text")
    for name, message in (
        ("array.npz", "not a whole .npz file"),
        ("torch.npz", "is not an array|is missing"),
        ("text.npz", "not a whole .npz file"),
        ("text.safetensors", "not a whole .safetensors file"),
        ("gone.npz", f"no feature file {tmp_path}/gone.npz"),
        ("a.pt", "ends in .npz or .safetensors"),
        ("", "ends in .npz or .safetensors"),
    ):
        with pytest.raises(FeatureFileError, match=message):
            load_features(tmp_path / name)
    with pytest.raises(FeatureFileError, match=r"ends in .npz or .safetensors"):
        save_features(tmp_path / "a.pth", feature_set())
    assert not (tmp_path / "a.pth").exists()


def test_without_safetensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    check_format("a.npz")
    with pytest.raises(ImportError, match=r"safetensors.*fastreid_ext\[export\]"):
        check_format("a.safetensors")


def test_join_takes_queries_of_one_and_gallery_of_the_other(load: Callable[..., FeatureSet]) -> None:
    query, gallery = load(info='{"name": "a"}'), load(query=None, gallery=None, info='{"name": "b"}')
    both = join(query, gallery)
    assert split_of(both) == [([0, 2, 4], list(range(N, 2 * N)))]
    assert torch.equal(both.values, torch.cat((query.values, gallery.values))) and len(both.pids) == 2 * N
    assert (both.name, both.protocol) == ("a in b", Protocol(camera_rule=True))
    assert join(query, query).name == "a"


def test_join_refuses_images_that_find_themselves(load: Callable[..., FeatureSet]) -> None:
    known, unknown = load(), load(camids=None)
    for query, gallery, rule in ((unknown, unknown, None), (known, unknown, None), (known, known, False)):
        with pytest.raises(FeatureFileError, match=r"same features, of mine and mine: .* Give one file alone"):
            join(query, gallery, camera_rule=rule)
    assert join(known, known).protocol.camera_rule
    other = load(camids=None, features=np.eye(N, 4) + 2)
    assert not join(other, unknown).protocol.camera_rule
    assert not join(load(features=np.eye(N, 4) + 2), known, camera_rule=False).protocol.camera_rule


def test_join_without_cameras(load: Callable[..., FeatureSet], warnings: list[str]) -> None:
    known, unknown, same = load(info='{"name": "a"}'), load(camids=None), load(camids=np.zeros(N, dtype=int))
    gallery = {"features": np.eye(N, 4) + 2}
    assert not join(known, load(camids=None, **gallery)).protocol.camera_rule
    assert warnings == ["mine has no camids: no camera rule"]
    assert not join(unknown, load(camids=None, **gallery)).protocol.camera_rule
    assert not join(same, load(camids=np.zeros(N, dtype=int), **gallery)).protocol.camera_rule
    assert join(same, known).protocol.camera_rule and len(warnings) == 1


def test_join_refuses_what_does_not_fit(load: Callable[..., FeatureSet]) -> None:
    with pytest.raises(FeatureFileError, match=r"4 dimensions, those of mine 2: they are not of one model"):
        join(load(), load(features=np.ones((N, 2))))
    with pytest.raises(FeatureFileError, match=r"CUHK03.* has 2 trials: it cannot be joined"):
        join(load(), feature_set())
