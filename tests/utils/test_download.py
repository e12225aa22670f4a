"""Files by URL, against a server that the test runs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.engine.checkpoint import CheckpointError, read_checkpoint
from fastreid_ext.utils.download import DownloadError, local_file

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


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


@pytest.mark.parametrize("name", [f"model-{DIGEST[:8]}.pth", f"model-{DIGEST}.pth.tar", "model-best.pth"])
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


def test_a_url_that_names_no_file() -> None:
    with pytest.raises(DownloadError, match="names no file"):
        local_file("https://example.com/")


def test_checkpoints_by_url(tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "model.pth")
    state = read_checkpoint((tmp_path / "model.pth").as_uri())
    assert torch.equal(state["model"]["weight"], torch.ones(2))
    with pytest.raises(CheckpointError, match="cannot download"):
        read_checkpoint((tmp_path / "gone.pth").as_uri())
