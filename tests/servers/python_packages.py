"""A Python environment of its own for a server whose packages do not fit among those of the tests.

How this works: the file of pinned packages with their checksums is next to the module of the server. The environment is
made in a scratch folder and put in place only when everything is installed; its name has a digest of the file, so that
other pins make another one.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.places import only_one, packages_folder

INSTALL = ("-m", "pip", "install", "-q", "--require-hashes", "--no-deps")
INSTALL_SECONDS_MAX = 600


@dataclass(frozen=True, slots=True)
class PythonPackages:
    """The environment of the server `name`; `pins` lists its packages."""

    name: str
    pins: Path

    @property
    def python(self) -> Path:
        """Its interpreter. Start scripts do not work: they name the folder that the environment was made in."""
        return self._folder / "bin" / "python"

    def resolve(self) -> None:
        """Install the packages, unless they are there.

        :raises ServerError: they cannot be installed, or are not those that were pinned.
        """
        with only_one(self.name):
            if not self.python.exists():
                packages_folder().mkdir(parents=True, exist_ok=True)
                scratch = Path(tempfile.mkdtemp(prefix=".", dir=packages_folder()))
                try:
                    self._install(scratch)
                    shutil.rmtree(self._folder, ignore_errors=True)
                    scratch.rename(self._folder)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        pinned = hashlib.sha256(self.pins.read_bytes()).hexdigest()[:12]
        return packages_folder() / f"{self.name}-{sys.version_info.major}.{sys.version_info.minor}-{pinned}"

    def _install(self, folder: Path) -> None:
        steps = (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "python"), *INSTALL, "-r", str(self.pins)],
        )
        for command in steps:
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS_MAX)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ServerError(f"{self.name} could not be installed: {error}") from error
            if done.returncode:
                said = (done.stdout + done.stderr).strip()[-600:]
                raise ServerError(f"{self.name} could not be installed: {said}")
