"""Makes the locked torch, which is built for GPUs, load without CUDA: for the image for CPUs.

PyPI has torch for Linux with CUDA alone. Its part for CPUs is a library of its own,
`libtorch_cpu.so`, but Python's binding is linked with that for GPUs, too. In its place comes a
library of the same name that has the names which are asked for and nothing behind them: who calls
one gets a RuntimeError. Runs inside the image's build only; needs gcc and nm.
docs/decisions/0026-a-cpu-image-from-the-locked-torch.md says why.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

LINKED = (
    "libtorch_cuda.so",
    "libtorch_cuda_linalg.so",
    "libtorch_nvshmem.so",
    "libcaffe2_nvrtc.so",
)
"""What is linked with CUDA's libraries, and goes. The first gets a replacement."""
CUDNN = "libcudnn.so.9"
"""Python's binding is linked with it to tell its version; its package is not installed."""
CALLED_AT_IMPORT = ("_ZN4c10d15get_gil_checkerEv",)
"""Asked for the place of a pointer, which is set: these give one."""
MADE_AT_IMPORT = {"_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb": "_ZTVN4c10d16ProcessGroupNCCL7OptionsE"}
"""The constructor of a default argument, and its table of virtual functions, which the binding has.
Its object lies on the heap; nobody reads it."""
TYPE, TABLE = "_ZTI", "_ZTV"
"""How the names of types begin, and of tables of virtual functions; all others are functions."""
CODE = frozenset("TWi")
"""What nm calls a function; any other name but of a type or table is of data."""

PATCHES = {
    "version.py": (r"^cuda(.*) = '[^']*'$", r"cuda\1 = None"),
    "backends/cuda/__init__.py": (r"return torch\._C\._has_cuda$", "return False"),
    "cuda/__init__.py": (r'return hasattr\(torch\._C, "_cuda_getDeviceCount"\)$', "return False"),
}
"""What torch says of itself where it is built for CPUs: no CUDA is built in, and none available."""

HEAD = """\
#include <malloc.h>
#include <string.h>
extern void *__cxa_allocate_exception(unsigned long);
extern void __cxa_throw(void *, void *, void (*)(void *)) __attribute__((noreturn));
extern void construct(void *, const char *) __asm__("_ZNSt13runtime_errorC1EPKc");
extern void destroy(void *) __asm__("_ZNSt13runtime_errorD1Ev");
extern char type[] __asm__("_ZTISt13runtime_error");
extern char class_type[] __asm__("_ZTVN10__cxxabiv117__class_type_infoE");
static void missing(const char *name) {
  void *error = __cxa_allocate_exception(2 * sizeof(void *));
  construct(error, name);
  __cxa_throw(error, type, destroy);
}
"""
MAKES = """\
extern void *table{index}[] __asm__("{table}");
void *call{index}(void **object) __asm__("{name}");
void *call{index}(void **object) {{
  memset(object, 0, malloc_usable_size(object));
  *object = table{index} + 2;
  return object;
}}
"""
SAYS = "This image computes on CPUs alone: use the trainer's image for GPUs"


def source(names: Iterable[str]) -> str:
    """C code of a library that has these names."""
    return HEAD + "".join(line(index, name) for index, name in enumerate(sorted(names)))


def line(index: int, name: str) -> str:
    """One name's definition."""
    if name.startswith(TYPE):  # Python's binding lists types by their names
        word = f'{{class_type + 2 * sizeof(void *), "{name.removeprefix(TYPE)}"}}'
        return f'void *object{index}[2] __asm__("{name}") = {word};\n'
    if name.startswith(TABLE):
        return f'void *object{index}[64] __asm__("{name}");\n'
    declared = f'void *call{index}(void) __asm__("{name}");\n'
    if name in CALLED_AT_IMPORT:
        return f"{declared}void *call{index}(void) {{ static void *place[8]; return place; }}\n"
    if table := MADE_AT_IMPORT.get(name):
        return MAKES.format(index=index, name=name, table=table)
    says = f"{SAYS} (it has no {name})."
    return f'{declared}void *call{index}(void) {{ missing("{says}"); return 0; }}\n'


def names(nm: str) -> set[str]:
    """The names in what nm prints, without their versions."""
    return {row.split()[-1].partition("@")[0] for row in nm.splitlines() if row.split()}


def data(nm: str) -> set[str]:
    """Those of them that are neither functions nor of a type or a table."""
    rows = [row for row in nm.splitlines() if row.split() and row.split()[-2] not in CODE]
    return {name for name in names("\n".join(rows)) if not name.startswith((TYPE, TABLE))}


def asked(library: Path) -> set[str]:
    """The names that a library takes from others."""
    return names(_run("nm", "-D", "--undefined-only", library))


def offered(library: Path) -> set[str]:
    """The names that a library has for others."""
    return names(_run("nm", "-D", "--defined-only", library))


def replace(site: Path) -> None:
    """Take away what is linked with CUDA's libraries, and put the replacements there."""
    folder = site / "torch" / "lib"
    gone = [folder / name for name in LINKED if (folder / name).exists()]
    users = [folder / "libtorch_python.so", *(site / "torchvision").glob("*.so")]
    wanted = set[str]().union(*map(asked, users))
    had = set[str]().union(*map(offered, gone))
    refuse_data(wanted & had, *gone)
    for library in gone:
        library.unlink()
    make(folder / LINKED[0], wanted & had)
    make(folder / CUDNN, {name for name in wanted if name.startswith("cudnn")}, version=CUDNN)
    patch(site / "torch")
    print(f"Without CUDA: {len(wanted & had)} names of {', '.join(LINKED)} stand for themselves")


def refuse_data(replaced: set[str], *libraries: Path) -> None:
    """Refuse names of data among those that get code in their place: it would be read as data."""
    rows = "\n".join(_run("nm", "-D", "--defined-only", each) for each in libraries)
    if names := sorted(data(rows) & replaced):
        raise SystemExit(
            f"error: {', '.join(names)} of torch's part for GPUs is data, not code: have `line` in "
            f"trainer_image/without_cuda.py define it, or leave out what asks for it"
        )


def patch(torch: Path) -> None:
    """Have torch say that it has no CUDA. Files are made anew: others may be linked to them."""
    for name, (pattern, instead) in PATCHES.items():
        text, count = re.subn(pattern, instead, (torch / name).read_text(), flags=re.MULTILINE)
        if count != 1:
            raise SystemExit(f"error: torch/{name} has {pattern} {count} times, not once")
        (torch / name).unlink()
        (torch / name).write_text(text)


def make(library: Path, wanted: set[str], version: str = "") -> None:
    """Compile a library that has these names, all of one version if they have one."""
    words = ["gcc", "-shared", "-fPIC", "-O1", "-fexceptions", f"-Wl,-soname,{library.name}"]
    script = library.with_suffix(".map")
    if version:
        script.write_text(f"{version} {{ global: *; }};\n")
        words.append(f"-Wl,--version-script={script}")
    _run(*words, "-x", "c", "-o", library, "-", given=source(wanted))
    script.unlink(missing_ok=True)


def _run(*words: str | Path, given: str | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in words], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"error: {words[0]} failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    replace(Path(sys.argv[1]))
