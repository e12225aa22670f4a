"""Files by path or by URL."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import string
import urllib.error
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import quote, unquote, urlparse
from urllib.request import Request, url2pathname, urlopen

from filelock import FileLock
from tqdm import tqdm

from fastreid_ext.utils.files import atomic_write, cache_folder
from fastreid_ext.utils.logger import get_logger

__all__ = ["DownloadError", "is_url", "local_file"]

# What torchvision, timm and others put at the end of a name: the first digits of the file's SHA-256. The last group of
# a UUID and a date look the same.
_CHECKSUM = re.compile(
    r"(?<!-[0-9a-f]{4})-(?!(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\.)([0-9a-f]{8,64})(?:\.\w+)+$"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_CHUNK = 1 << 20
_PATIENCE_IN_SECONDS = 60


class DownloadError(OSError):
    """A file that cannot be had; the message says why and what to do."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an address, such as one on the web."""
    return _SCHEME.match(os.fspath(path)) is not None


def local_file(path: str | os.PathLike[str]) -> Path:
    """The file itself, or the copy of what a URL names, downloaded once for all processes and runs.

    A name that ends in a checksum, as in `resnet50-0676ba61.pth`, is checked against it. What has another, or arrives
    in part, is not kept.

    Raises:
        DownloadError: it could not be downloaded, or has another checksum than its name says.
    """
    if not is_url(path):
        return Path(path)
    url = os.fspath(path)
    try:
        parts = urlparse(url)
        if parts.scheme == "file":
            return Path(url2pathname(parts.path))
        if parts.scheme not in ("http", "https"):
            raise DownloadError(f"cannot download {url}: only http:// and https:// are known, and paths of files")
        name = PurePosixPath(unquote(parts.path)).name
        if not name:
            raise DownloadError(f"{url} names no file")
        # Files of different addresses often have the same name.
        file = cache_folder("checkpoints") / hashlib.sha256(url.encode()).hexdigest()[:16] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.parent / ".lock"):
            if not file.is_file():
                _download(url, file)
    except DownloadError:
        raise
    except (OSError, ValueError) as error:
        raise DownloadError(f"cannot download {url}: {error}") from error
    return file


def _download(url: str, file: Path) -> None:
    get_logger(__name__).info(f"downloading {url} to {file}")
    try:
        request = Request(quote(url, safe=string.punctuation), headers={"User-Agent": "fastreid_ext"})
        with urlopen(request, timeout=_PATIENCE_IN_SECONDS) as response, atomic_write(file, "wb") as target:
            length = response.headers.get("Content-Length")
            size, digest = _copy(response, target, int(length) if length else None, file.name)
            # The file of before, if any, is left when the block ends with an error.
            if length and size != int(length):
                raise DownloadError(f"{url} came only in part, {size} of {length} bytes: try again")
            _check(url, file.name, digest)
    except DownloadError:
        raise
    except urllib.error.HTTPError as error:
        raise DownloadError(f"cannot download {url}: the server says {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"cannot download {url}: {reason}. Without a network, download it elsewhere and give the path of the file"
        ) from error


def _copy(source: IO[bytes], target: IO[bytes], length: int | None, name: str) -> tuple[int, str]:
    """Bytes that were copied, and their SHA-256."""
    size, digest = 0, hashlib.sha256()
    bar: tqdm[Any] = tqdm(total=length, desc=name, unit="B", unit_scale=True, leave=False)
    with bar:
        while chunk := source.read(_CHUNK):
            target.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            bar.update(len(chunk))
    return size, digest.hexdigest()


def _check(url: str, name: str, digest: str) -> None:
    named = _CHECKSUM.search(name)
    if named and not digest.startswith(named[1]):
        raise DownloadError(
            f"{url} is not what its name says: its checksum begins with {digest[: len(named[1])]}, not {named[1]}. "
            f"It was changed or broken on the way: try again, or take it from elsewhere. If its name ends in no "
            f"checksum, download it and give the path of the file"
        )
