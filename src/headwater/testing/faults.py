"""Faults for file images: flipped bits, cut ends, zeroed pages; each returns a description."""

from __future__ import annotations

import random
from pathlib import Path


def flip_bit(path: Path, chance: random.Random, *, start: int = 0) -> str:
    """Flip one random bit from byte `start` on."""
    data = bytearray(path.read_bytes())
    place = chance.randrange(start, len(data))
    bit = chance.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"{path.name}: bit {bit} of byte {place} flipped"


def cut_end(path: Path, chance: random.Random) -> str:
    """Cut the file at a random place."""
    size = chance.randrange(path.stat().st_size)
    with open(path, "r+b") as file:
        file.truncate(size)
    return f"{path.name}: cut to {size} bytes"


def zero_block(path: Path, chance: random.Random, *, block_bytes: int = 4096) -> str:
    """Overwrite one block with zeros, like a disk that has lost a write."""
    data = bytearray(path.read_bytes())
    block = chance.randrange(max(1, len(data) // block_bytes))
    data[block * block_bytes : (block + 1) * block_bytes] = bytes(block_bytes)
    path.write_bytes(data[: path.stat().st_size])
    return f"{path.name}: block {block} zeroed"
