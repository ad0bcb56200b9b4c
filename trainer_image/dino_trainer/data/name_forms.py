"""One name in two forms: ü is one character, or u with a mark of its own.

A Mac writes the second into archives and folders, annotation tools write the first. The two look
the same everywhere, so that nobody could see what is wrong.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, urlsplit


def composed(name: str) -> str:
    """The form that two names share which look the same."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def apart(names: Iterable[str]) -> dict[str, str]:
    """Each name in quotes; of those that look the same their letters by number, too."""
    names = list(names)
    counts = Counter(composed(name) for name in names)
    alike = {name for name in names if counts[composed(name)] > 1}
    return {name: ascii(name) if name in alike else repr(name) for name in names}


def by_form(names: Iterable[str]) -> Mapping[str, str]:
    """Names beyond ASCII by their composed form; without those of which there are two."""
    forms = {name: composed(name) for name in names if not name.isascii()}
    counts = Counter(forms.values())
    return {form: name for name, form in forms.items() if counts[form] == 1}


def parts_of_address(address: str) -> SplitResult | None:
    """The parts of an address; None for one that begins as such and is none.

    Its host may stand in brackets that do not close, among others.
    """
    try:
        return urlsplit(address)
    except ValueError:
        return None


def can_be_a_name(text: str) -> bool:
    """Whether a file may be called so: halves of surrogate pairs are no characters.

    But for those in whose place bytes stand that are no UTF-8, as Python lists such files.
    """
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return bool(text) and "\0" not in text


def leaves_folder(name: str) -> bool:
    """Whether a name leads out of the folder that it is of, as keys of an object store may."""
    return name.startswith("/") or (".." in name and ".." in name.split("/"))


def path_below(root: Path, name: str) -> Path | None:
    """The file of that name, in whatever form each part of it is; None where there is none."""
    if leaves_folder(name):
        return None
    path = root / name
    if is_file(path):
        return path
    if name.isascii() or "://" in name:
        return None
    path = root
    for part in PurePosixPath(name).parts:
        path = path / (part if part.isascii() else _in(path).get(composed(part), part))
    return path if is_file(path) else None


def is_file(path: Path) -> bool:
    """Whether there is one; a name that no file system takes has none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _in(folder: Path) -> Mapping[str, str]:
    try:
        return _listed(folder, folder.stat().st_mtime_ns)
    except (OSError, ValueError):
        return {}


@lru_cache(maxsize=64)
def _listed(folder: Path, changed: int) -> Mapping[str, str]:
    """changed: the folder's time, so that what is read once is not read for every image."""
    return by_form(os.listdir(folder))
