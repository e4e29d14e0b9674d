"""Step bundle: pack project, environments and models into one archive, for a cluster without a network.

The archive is not compressed, since weights hardly get smaller. envs/unpack.sh makes it run where it was unpacked.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from errata import __version__
from errata.bundle.relocate import INTERPRETER, MANIFEST, Manifest, libc
from errata.core.errors import UserError
from errata.core.files import cannot_read, cannot_write, read_json
from errata.models import store
from errata.models.fetch import packed_name
from errata.reporting import provenance

FOLDER = "errata"  # the folder that the archive unpacks to
# Files and folders of the project, if git cannot list them.
TOP = (
    *("Snakefile", "Makefile", "LICENSE", "README.md", "pyproject.toml", "slurm"),
    *("workflow", "config", "data", "envs", "profiles", "tests", "benchmarks"),
)
# Files in these folders are part of the project even before they are added to git.
CODE = ("Snakefile", "slurm", "workflow", "config", "envs", "profiles")
SECRET = re.compile(
    r"(?!added_tokens\.json$)"  # of a tokenizer
    r"(\.env(\..+)?|\.netrc|\.git-credentials|\.pypirc|.+\.(pem|key|p12)|id_(rsa|dsa|ecdsa|ed25519)(\.pub)?"
    r"|(.+[._-])?(tokens?|secrets?|credentials?|passwords?)(\.(txt|json|ya?ml|toml|ini|cfg))?)",
    re.IGNORECASE,
)
# Never secret in a model's folder: without one of these files, a tokenizer silently loses tokens.
VOCABULARY = re.compile(r".+[._-]tokens\.json|(tokenizer|vocab).*", re.IGNORECASE)
# Parts of an interpreter that no step needs: its packages, tests, static libraries and graphical tools.
UNNEEDED = re.compile(r"site-packages|test|config-.+|idlelib|turtledemo|tkinter|lib2to3|ensurepip")
SYSTEM = (Path("/usr"), Path("/usr/local"), Path("/"))
SHOW_EVERY = 5.0  # seconds


class Member(NamedTuple):
    """An entry of the archive.

    Attributes:
        name: its path in the archive.
        path: the file, link or folder to pack.
        follow: if `path` is a link, pack its target instead.
        link: pack a link with this target instead of `path`.
        data: pack a file with this content instead of `path`.
    """

    name: str
    path: Path
    follow: bool = False
    link: str | None = None
    data: bytes | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, help="the archive to write")
    parser.add_argument("--environments", nargs="+", required=True, metavar="NAME", help="built environments of .envs/")
    parser.add_argument("--bases", type=Path, nargs="*", default=[], metavar="PATH", help="results/{model}/base/...")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the whole configuration, as JSON")
    parser.add_argument(
        "--configfiles", type=Path, nargs="*", default=[], metavar="FILE", help="the files it was read from"
    )


def run(arguments: argparse.Namespace) -> None:
    root = Path.cwd()
    config: dict[str, Any] = read_json(arguments.config)
    project = {*project_files(root), *inside(root, arguments.configfiles), *named_files(root, config)}
    members = [Member(str(path), root / path) for path in sorted(project) if not _secret(path)]
    for name in arguments.environments:
        members += environment(root, name)
    members += interpreter(root / ".envs" / arguments.environments[0] / "bin" / "python")
    sources = {name: model["source"] for name, model in {**config["models"], **config["baselines"]}.items()}
    members += models(root, arguments.bases, sources)
    manifest = Manifest(
        errata=__version__,
        revision=provenance.describe_revision(root),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=platform.machine(),
        libc=libc(),
        environments=arguments.environments,
        configfiles=[str(path) for path in inside(root, arguments.configfiles)],
    )
    text = json.dumps(manifest._asdict(), ensure_ascii=False, indent=2) + "\n"
    pack([Member(MANIFEST, root / "Snakefile", data=text.encode()), *members], arguments.output)
    print(f"Copy it, and there: tar xf {arguments.output.name} && sh {FOLDER}/envs/unpack.sh")


def project_files(root: Path) -> list[Path]:
    """The project's files, relative to `root`: tracked files and new code; without git the files in `TOP`."""
    git = ["git", "-C", str(root), "ls-files", "-z"]
    listed: list[str] = []
    if (root / ".git").exists():
        for words in (["--cached"], ["--others", "--exclude-standard", "--", *CODE]):
            done = subprocess.run([*git, *words], capture_output=True, text=True)
            listed += done.stdout.split("\0") if done.returncode == 0 else []
    found = {Path(name) for name in listed if name}
    if not found:
        for name in TOP:
            found.update(Path(each.name) for each in _tree(root / name, name))
    existing = [path for path in sorted(found) if (root / path).is_symlink() or (root / path).is_file()]
    return [
        path for path in existing if not any(part == "__pycache__" or part.endswith(".egg-info") for part in path.parts)
    ]


def digest_project(root: Path) -> str:
    """A digest that changes when a file of the project changes."""
    digest = hashlib.sha256()
    for path in project_files(root):
        status = (root / path).lstat()
        digest.update(f"{path}\0{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def inside(root: Path, paths: Iterable[Path]) -> list[Path]:
    """The paths relative to `root`.

    Raises:
        UserError: one is outside, so a bundle cannot contain it.
    """
    found = []
    for path in paths:
        full = Path(os.path.normpath(root / path))
        if not full.is_relative_to(root):
            raise UserError(
                f"{path}: is outside the project, so a bundle cannot contain it. Copy it into config/ or data/."
            )
        found.append(full.relative_to(root))
    return found


def named_files(root: Path, config: Any, key: str = "") -> Iterator[Path]:
    """The files that a configuration names, such as its data, relative to `root`.

    Args:
        config: the configuration as JSON, or a value in it.
        key: the key of that value, such as dataset.train; empty for the whole configuration.

    Raises:
        UserError: a file of the data set is outside the project.
    """
    if isinstance(config, dict):
        for name, value in config.items():
            yield from named_files(root, value, f"{key}.{name}" if key else str(name))
    elif isinstance(config, list):
        for value in config:
            yield from named_files(root, value, key)
    elif isinstance(config, str) and 0 < len(config) < 1000 and "\n" not in config and (root / config).is_file():
        data = key.startswith("dataset.")
        if data or Path(os.path.normpath(root / config)).is_relative_to(root):
            yield from inside(root, [Path(config)])


def environment(root: Path, name: str) -> Iterator[Member]:
    """A built environment and its flag file. Links are packed as links.

    Raises:
        UserError: it is not built.
    """
    prefix, flag = root / ".envs" / name, root / ".envs" / f"{name}.ok"
    if not (prefix / "pyvenv.cfg").is_file() or not flag.is_file():
        raise UserError(f".envs/{name}: not built. Run `snakemake --profile profiles/local .envs/{name}.ok` first.")
    yield from _tree(prefix.resolve(), f".envs/{name}")
    yield Member(f".envs/{name}.ok", flag)


def interpreter(python: Path) -> list[Member]:
    """The base interpreter of the environments, if it is in a separate folder. The system's Python is not packed.

    Args:
        python: the Python of an environment.
    """
    command = [str(python), "-c", "import sys; print(sys.base_prefix, '%d.%d' % sys.version_info[:2], sep='\\n')"]
    prefix, version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:2]
    base = Path(prefix)
    binary = (base / "bin" / f"python{version}").resolve()
    if base in SYSTEM or not binary.is_relative_to(base) or not (base / "lib" / f"python{version}").is_dir():
        print(f"{prefix}: the system's Python is not packed; the cluster needs a Python {version}, on its nodes too")
        return []
    found = [Member(f"{INTERPRETER}/bin/python{version}", binary, data=_own_library(binary, base))]
    for path in sorted((base / "lib").glob("libpython*.so*")):
        found.append(Member(f"{INTERPRETER}/lib/{path.name}", path))
    # also headers: engines for GPUs compile small kernels at their first start
    for folder in (f"lib/python{version}", f"include/python{version}"):
        found += _tree(base / folder, f"{INTERPRETER}/{folder}", UNNEEDED) if (base / folder).is_dir() else []
    return found


def _own_library(binary: Path, base: Path) -> bytes:
    """The interpreter's program, changed so that it finds its library by a relative path instead of the old one.

    Args:
        binary: the program.
        base: the folder that it is installed in.
    """
    content = binary.read_bytes()
    old, new = str(base / "lib").encode() + b"\0", b"$ORIGIN/../lib\0"
    if len(new) > len(old):
        return content
    # the zero byte in front makes sure that it is a complete path, not the end of another one
    return content.replace(b"\0" + old, b"\0" + new + bytes(len(old) - len(new)))


def models(root: Path, bases: Sequence[Path], sources: Mapping[str, str | None]) -> Iterator[Member]:
    """The base models in models/, and the links to them in results/{model}/base.

    A model from outside models/ gets a folder there in the archive.

    Args:
        bases: results/{model}/base/model.gguf or checkpoint.
        sources: `source` of each model.
    """
    downloads = (root / store.MODELS).resolve()
    packed: set[Path] = set()
    for base in bases:
        here = root / base
        if here.is_dir():
            yield Member(str(base), here, follow=True)
        for path in sorted(here.iterdir()) if here.is_dir() else [here]:
            name, target = path.relative_to(root), _target(path)
            if target is None:
                yield Member(str(name), path)
                continue
            if _is_foreign(name):
                continue
            if target.is_relative_to(downloads):
                place = store.MODELS / target.relative_to(downloads)
                model = Path(*place.parts[:2])
                original = downloads / model.name
            else:
                model = place = store.MODELS / packed_name(sources[base.parts[1]] or "") / path.name
                original = path
            if model not in packed:
                yield from _tree(original, str(model), follow=True)
            packed.add(model)
            yield Member(str(name), path, link=os.path.relpath(place, name.parent))


def _target(path: Path) -> Path | None:
    """The target of a path that is a link or is in a linked folder; None for any other path.

    Further links are not followed.
    """
    if path.is_symlink():
        place = path.parent.resolve() / path.readlink()
    elif path.parent.is_symlink():
        place = path
    else:
        return None
    return place.parent.resolve() / place.name


def _tree(path: Path, name: str, skip: re.Pattern[str] | None = None, follow: bool = False) -> Iterator[Member]:
    """A file, or a folder with its contents.

    Args:
        name: its path in the archive.
        skip: names that are left out.
        follow: pack the targets of links, and leave out files that do not belong to a model.
    """
    yield Member(name, path, follow)
    if path.is_dir() and (follow or not path.is_symlink()):
        for inner in sorted(path.iterdir()):
            if not (follow and _is_foreign(inner)) and not (skip and skip.fullmatch(inner.name)):
                yield from _tree(inner, f"{name}/{inner.name}", skip, follow)


def _is_foreign(path: Path) -> bool:
    """Whether a file in a model's folder does not belong to the model."""
    return path.name.startswith(".") or (not VOCABULARY.fullmatch(path.name) and _secret(path))


def _secret(path: Path) -> bool:
    """Whether a file may hold a secret, by its name; if so, it is reported as left out."""
    if SECRET.fullmatch(path.name):
        print(f"{path}: left out, since it may hold a secret")
        return True
    return False


def pack(members: Sequence[Member], output: Path) -> None:
    """Write the archive, completely or not at all, and show the progress.

    Raises:
        UserError: something cannot be read, or the disk is full.
    """
    total = _total_bytes(members) / 2**30
    start = shown = time.monotonic()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
            fresh = Path(scratch) / output.name
            with fresh.open("wb") as file:
                with tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, copybufsize=1 << 20) as archive:
                    for member in members:
                        _add(archive, member)
                        now = time.monotonic()
                        if now - shown > SHOW_EVERY:
                            done, shown = archive.offset / 2**30, now
                            print(f"{done:.1f} of {total:.1f} GiB, {done * 1024 / (now - start):.0f} MiB/s", flush=True)
                file.flush()
                os.fsync(file.fileno())
            size, seconds = fresh.stat().st_size / 2**30, time.monotonic() - start
            fresh.replace(output)
    except OSError as error:
        raise cannot_write(output, error) from error
    print(f"{output}: {size:.2f} GiB, {len(members)} files, {seconds:.0f} s ({size * 1024 / seconds:.0f} MiB/s)")


def _add(archive: tarfile.TarFile, member: Member) -> None:
    """Add a member. Modification times are rounded down to seconds, which keeps their order."""
    name = f"{FOLDER}/{member.name}"
    archive.dereference = member.follow
    if member.link is not None or member.data is not None:
        status = member.path.lstat()
        info = tarfile.TarInfo(name)
        info.mtime, info.mode = int(status.st_mtime), 0o777 if member.link is not None else status.st_mode & 0o777
        if member.link is not None:
            info.type, info.linkname = tarfile.SYMTYPE, member.link
        info.size = len(member.data or b"")
        archive.addfile(info, BytesIO(member.data or b""))
        return
    try:
        # tarfile makes a second name of the same file a hard link
        info = archive.gettarinfo(member.path, name)
        file = member.path.open("rb") if info is not None and info.isreg() else None
    except OSError as error:
        raise cannot_read(member.path, error) from error
    if info is None:
        return  # a socket or the like
    # without users of this machine, and without fractions of a second, which need an extra header for every file
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = int(info.mtime)
    with file or nullcontext():
        archive.addfile(info, file)


def _total_bytes(members: Iterable[Member]) -> int:
    """The bytes to pack; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for member in members:
        if member.data is None and member.link is None:
            try:
                status = member.path.stat() if member.follow else member.path.lstat()
            except OSError as error:
                raise cannot_read(member.path, error) from error
            if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total
