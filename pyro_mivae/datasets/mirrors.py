"""MNIST's files from torchvision's mirrors, checked, and without waiting for a dead network."""

import hashlib
import threading
import time
import urllib.error
import urllib.request
import zlib
from concurrent.futures import Future
from typing import Any

from pyro_mivae.extras import extra

LARGEST = 47_040_016  # bytes of the largest file; nothing longer is ever read
_SLOWEST = 10_000  # bytes/s: a server that is slower for longer than `timeout` counts as stalled


def download_file(name: str, sha256: str, timeout: float) -> bytes:
    """Fetches one file, unpacked, from the first of torchvision's mirrors that has it.

    Args:
        name: Name of the file, for example ``train-images-idx3-ubyte``.
        sha256: Checksum of the unpacked original.
        timeout: Seconds for all mirrors together to answer.

    Raises:
        OSError: If no mirror has it; the message says what each answered.
    """
    with extra("digits"):
        from torchvision.datasets import MNIST  # a slow import, and few runs download

    failures = []
    for url in (f"{mirror}{name}.gz" for mirror in MNIST.mirrors):
        try:
            packed = _fetch(url, timeout / len(MNIST.mirrors))
            content = zlib.decompressobj(wbits=31).decompress(packed, LARGEST + 1)
            if (digest := hashlib.sha256(content).hexdigest()) == sha256:
                return content
            failures.append(f"{url}: expected SHA-256 {sha256} unpacked, found {digest}")
        except Exception as error:  # of whatever kind: the next mirror may do better
            failures.append(f"{url}: {error!r}")
            if isinstance(error, urllib.error.HTTPError):
                error.close()
    raise OSError(f"downloading failed ({'; '.join(failures)})")


def _fetch(url: str, seconds: float) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "pyro_mivae"})
    opened: Future[Any] = Future()

    def work() -> None:
        try:
            opened.set_result(urllib.request.urlopen(request, timeout=seconds))
        except Exception as error:
            opened.set_exception(error)

    # In a thread because urllib's own timeout leaves out DNS and starts anew for every address.
    threading.Thread(target=work, daemon=True).start()
    body, start = bytearray(), time.monotonic()
    with opened.result(seconds) as response:
        while len(body) <= LARGEST and (chunk := response.read1(1 << 16)):
            body += chunk
            if time.monotonic() - start > seconds + len(body) / _SLOWEST:
                raise TimeoutError(f"stalled after {len(body)} bytes")
    return bytes(body)
