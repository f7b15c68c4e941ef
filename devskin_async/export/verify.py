"""Checking an export's files against its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from ..errors import ConfigurationError
from .arithmetic import contradictions, wrong_rows
from .files import check_folder_name, check_plain, digest
from .manifest import NAME, MadeFile, Manifest, read_manifest
from .sinks import count_rows
from .tables import table_named
from .work_folder import FOLDER, JOURNAL


@frozen(kw_only=True)
class Verified:
    """What was found out about an export.

    Args:
        manifest: Its manifest.
        problems: What of its files is not as the manifest says, or contradicts itself in the
            manifest, a line each; none if all is well.
        unfinished: Whether a later export of the same folder has not ended.
    """

    manifest: Manifest
    problems: tuple[str, ...]
    unfinished: bool


def verify(folder: Path | str) -> Verified:
    """Check the files of an export against its manifest: their bytes, and their rows.

    Args:
        folder: The export's folder.

    Raises:
        ValueError: `folder` is no folder's name.
        ConfigurationError: There is no manifest, it can't be read or names nothing, or a library
            that the format needs is not installed.
    """
    out = check_folder_name(folder, "folder")
    manifest = read_manifest(out)
    if not (manifest.files and manifest.resources):
        raise ConfigurationError(f"{out / NAME} names no files of any resource: it proves nothing")
    problems = [problem for file in manifest.files if (problem := _problem(out, manifest, file))]
    if not problems:
        problems = [f"{NAME}: {problem}" for problem in _contradictions(manifest)]
    unfinished = (out / FOLDER / JOURNAL).is_file()
    return Verified(manifest=manifest, problems=tuple(problems), unfinished=unfinished)


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """Go through what in a manifest contradicts its files, or itself."""
    counted = {name: rows for file in manifest.files for name, rows in file.tables.items()}
    for name, each in manifest.resources.items():
        if each.rows != counted.get(name):
            yield f"{each.rows:,} rows of {name}, where its files have {counted.get(name, 0):,}"
        for wrong in (*wrong_rows(each), *contradictions(each)):
            yield f"{name}: {wrong}"


def _problem(out: Path, manifest: Manifest, file: MadeFile) -> str | None:
    try:
        wrong = _difference(out / file.name, manifest, file)
    except FileNotFoundError:
        wrong = "it is not there"
    except OSError as error:
        wrong = error.strerror
    except ValueError as error:
        wrong = str(error)
    return None if wrong is None else f"{file.name}: {wrong}"


def _difference(path: Path, manifest: Manifest, file: MadeFile) -> str | None:
    if path.name != file.name:
        return "it is not in this folder"
    check_plain(path)
    size = path.stat().st_size
    if size != file.size:
        return f"{size:,} bytes, where the manifest has {file.size:,}"
    if digest(path) != file.sha256:
        return "its SHA-256 is not the manifest's"
    for name, rows in file.tables.items():
        counted = count_rows(manifest.format, path, table_named(name))
        if counted != rows:
            return f"{counted:,} rows of {name}, where the manifest has {rows:,}"
    return None
