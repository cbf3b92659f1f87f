"""What has been freed in small pieces goes back to the system, and only where its allocator can do that."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, time
from headwater.cli.up import memory

memory.LOOK_SECONDS = 0.1

async def work():
    async with memory.returning_memory():
        before = memory._resident_bytes()
        pieces = [bytes(1_000) for _ in range(60_000)]
        kept = pieces[::50]
        assert memory._resident_bytes() - before > 50_000_000
        del pieces
        until = time.monotonic() + 20
        while (left := memory._resident_bytes() - before) > 20_000_000 and time.monotonic() < until:
            await asyncio.sleep(0.1)
        # Another C library returns what it will.
        print(left if memory._glibc() else 0, len(kept))

memory.bound_free_memory()
asyncio.run(work())
"""


def test_what_is_freed_between_what_is_kept_is_returned() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout.split()[0]) <= 20_000_000


def test_with_another_c_library_nothing_is_done() -> None:
    program = "import ctypes\nctypes.CDLL = lambda name: object()\n" + (
        "from headwater.cli.up import memory\nimport asyncio\n"
        "async def work():\n"
        "    async with memory.returning_memory():\n"
        "        return [task.get_name() for task in asyncio.all_tasks()]\n"
        "memory.bound_free_memory()\n"
        "assert 'return-memory' not in asyncio.run(work())\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
