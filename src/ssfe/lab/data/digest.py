"""Which images a data set holds, in a few bytes: to notice that some were added, removed or renamed since."""

from __future__ import annotations

import hashlib
import os

from ssfe.lab.data.source import Source
from ssfe.lab.data.splits import FileImages, ImageSplit


def source_digests(source: Source) -> dict[str, dict[str, int | str]]:
    """Of each split that the source brings along: ``images``, their number, and ``digest``, of their labels and, where
    they are files, of their names below the source's folder, wherever that lies. The pixels are not read.
    """
    given = {"train": source.train, "val": source.val, "test": source.test}
    return {
        name: {"images": len(split), "digest": _digest(split, source.name)}
        for name, split in given.items()
        if split is not None
    }


def _digest(split: ImageSplit, root: str) -> str:
    digest = hashlib.blake2b(split.labels.numpy().tobytes(), digest_size=8)
    if isinstance(split, FileImages):
        # The root may be ".", which no path begins with.
        names = "\0".join(path.removeprefix(root).replace(os.sep, "/").lstrip("/") for path in split.paths)
        digest.update(names.encode(errors="surrogateescape"))
    return digest.hexdigest()
