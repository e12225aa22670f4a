"""Files by URL, against a server that the test runs."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.engine.checkpoint import CheckpointError, read_checkpoint
from fastreid_ext.utils.download import DownloadError, local_file

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
UUID = "123e4567-e89b-12d3-a456-426614174000.pth"


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every name, unless the path says otherwise, and counts."""

    requests: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if "slow" in self.path:
            time.sleep(0.3)
        if "gone" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100] if "short" in self.path else CONTENT)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("FASTREID_CACHE", str(tmp_path / "cache"))
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def kept(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


def test_paths_stay_paths(tmp_path: Path) -> None:
    assert local_file(tmp_path / "a.pth") == tmp_path / "a.pth"
    assert local_file("logs/a.pth") == Path("logs/a.pth")


def test_downloads_once(server: Server) -> None:
    first, second = (local_file(f"{server.url}/zoo/model.pth") for _ in range(2))
    assert first == second and first.read_bytes() == CONTENT and first.name == "model.pth"
    assert server.requests == ["/zoo/model.pth"]


def test_files_of_one_name_are_kept_apart(server: Server) -> None:
    assert local_file(f"{server.url}/a/model.pth") != local_file(f"{server.url}/b/model.pth")


@pytest.mark.parametrize(
    "name", [f"model-{DIGEST[:8]}.pth", f"model-{DIGEST}.pth.tar", "model-best.pth", "model-20231015.pth", UUID]
)
def test_checksum_in_the_name_fits(server: Server, name: str) -> None:
    assert local_file(f"{server.url}/{name}?download=1").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model-00000000.pth", "its checksum begins with"),
        ("short.pth", f"came only in part, 100 of {len(CONTENT)} bytes"),
        ("gone.pth", "the server says 404"),
    ],
)
def test_what_is_broken_is_not_kept(server: Server, tmp_path: Path, name: str, said: str) -> None:
    for _ in range(2):
        with pytest.raises(DownloadError, match=said):
            local_file(f"{server.url}/{name}")
    assert len(server.requests) == 2 and not kept(tmp_path / "cache")


def test_without_a_server(server: Server) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=r"download it elsewhere and give the path of the file"):
        local_file(f"{url}/model.pth")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com/", "names no file"),
        ("s3://bucket/model.pth", "only http:// and https:// are known"),
        ("http://[::1/model.pth", "cannot download"),
        (f"http://127.0.0.1/{'a' * 300}.pth", "cannot download"),
    ],
)
def test_addresses_that_cannot_be_meant(url: str, said: str) -> None:
    with pytest.raises(DownloadError, match=re.escape(said)):
        local_file(url)


def test_checkpoints_by_url(tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "model.pth")
    state = read_checkpoint((tmp_path / "model.pth").as_uri())
    assert torch.equal(state["model"]["weight"], torch.ones(2))
    with pytest.raises(CheckpointError, match=r"no checkpoint .*gone"):
        read_checkpoint((tmp_path / "gone.pth").as_uri())
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "model.pth")
    state = read_checkpoint((tmp_path / "model.pth").as_uri())
    assert torch.equal(state["model"]["weight"], torch.zeros(2)), "a file of this machine is no download to be kept"


def test_a_page_in_place_of_a_checkpoint_is_shown_and_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint, it begins with b'weightsweights"):
        read_checkpoint(f"{server.url}/login.pth")
    assert not kept(tmp_path / "cache")


def test_one_download_for_all_who_ask_at_once(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        files = set(pool.map(local_file, [f"{server.url}/slow.pth"] * 4))
    assert len(files) == 1 and server.requests == ["/slow.pth"]
