"""Builds the Go programs once per state of their sources, outside the checkout."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lib.lock import locked
from lib.paths import SOURCES, home
from lib.say import ClusterError, say, stage

NAMES_OF_KUBE = (
    "etcd",
    "coredns",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "helm",
)
# The linker drops what debuggers read: not making it saves a twelfth of the time. Not inlining
# saves another seventh and makes programs slower: where API server and etcd work most, it inlines.
HOT = (
    "std",
    "go.etcd.io/...",
    "google.golang.org/...",
    "github.com/google/cel-go/...",
    "sigs.k8s.io/...",
    "k8s.io/apimachinery/...",
    "k8s.io/apiserver/...",
)
COMPILE = ("-gcflags=all=-dwarf=false -l", *(f"-gcflags={each}=-dwarf=false" for each in HOT))


@dataclass(frozen=True)
class Program:
    """One Go module under devcluster/go and the names its binary is called by."""

    name: str
    links: tuple[str, ...]
    about: str

    @property
    def source(self) -> Path:
        return SOURCES / self.name

    @property
    def binary(self) -> Path:
        return home() / "programs" / f"{self.name}-{self.key()}"

    def ldflags(self) -> str:
        """Stamp the versions in: without them kubectl cannot parse the server's."""
        flags = ["-s", "-w"]
        if kubernetes := pinned(self.source, "k8s.io/kubernetes"):
            major, minor = kubernetes.lstrip("v").split(".")[:2]
            for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
                stamps = {"gitVersion": kubernetes, "gitMajor": major, "gitMinor": minor}
                flags += [f"-X {package}.{name}={value}" for name, value in stamps.items()]
            helm = {
                "internal/version.version": pinned(self.source, "helm.sh/helm/v4"),
                "internal/version.kubeClientVersionMajor": major,
                "internal/version.kubeClientVersionMinor": minor,
                "pkg/chart/common.k8sVersionMajor": major,
                "pkg/chart/common.k8sVersionMinor": minor,
                "pkg/chart/v2/lint/rules.k8sVersionMajor": major,
                "pkg/chart/v2/lint/rules.k8sVersionMinor": minor,
            }
            flags += [f"-X helm.sh/helm/v4/{name}={value}" for name, value in helm.items()]
        return " ".join(flags)

    def key(self) -> str:
        """A hash of all that decides the binary: a fresh clone finds the one built before."""
        digest = hashlib.sha256(f"{platform.machine()} {self.ldflags()} {COMPILE}".encode())
        for path in sorted(self.source.iterdir()):
            if path.suffix in {".go", ".mod", ".sum"}:
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:16]


KUBE = Program("kube", NAMES_OF_KUBE, "6 minutes on 2 idle cores the first time")
S3 = Program("s3", ("s3",), "1 minute the first time")
PAUSE = Program("pause", ("pause",), "2 s")
PROGRAMS = (KUBE, S3, PAUSE)


def pinned(source: Path, module: str) -> str | None:
    """The version of a module that a go.mod requires, None when it does not."""
    found = re.search(rf"^\s*{re.escape(module)} (v\S+)", (source / "go.mod").read_text(), re.M)
    return found[1] if found else None


def ensure(*programs: Program) -> None:
    """Build what is missing, side by side, and point the names in bin/ at it."""
    if any(not program.binary.exists() for program in programs):
        check_go()
        with locked("programs"):
            missing = [program for program in programs if not program.binary.exists()]
            with ThreadPoolExecutor() as pool:
                list(pool.map(compile_program, missing))
    for program in programs:
        link(program)


def check_go() -> None:
    """Refuse early, in a sentence, when there is no usable Go."""
    go = shutil.which("go")
    if not go:
        raise ClusterError(
            "Building the dev cluster needs Go 1.25 or newer and there is none in PATH: "
            "install it from https://go.dev/dl, or use your own cluster with CLUSTER=current."
        )
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < (1, 25):
        raise ClusterError(
            f"Building the dev cluster needs Go 1.25 or newer, {go} says {said.strip()!r}: "
            "install a newer one from https://go.dev/dl."
        )


def compile_program(program: Program) -> None:
    """Run `go build`, with a line every 20 s, and publish the binary by an atomic rename."""
    program.binary.parent.mkdir(parents=True, exist_ok=True)
    unfinished = program.binary.with_suffix(".new")  # of one command: the lock is held
    command = ["go", "build", "-v", "-trimpath", "-mod=readonly", "-buildvcs=false"]
    if program is not KUBE:  # it takes the longest: the others have the cores that it leaves idle
        command = ["nice", "-n", "10", *command]
    command += [*COMPILE, "-ldflags", program.ldflags(), "-o", str(unfinished), "."]
    with stage(f"Building {program.name} ({', '.join(program.links)})", program.about):
        code, said = run_with_progress(command, program)
        if code != 0:
            unfinished.unlink(missing_ok=True)
            raise ClusterError(
                f"`go build` in {program.source} failed; its last lines:\n{said}\n"
                "If a module could not be fetched, check GOPROXY and try again: what was "
                "built so far is kept."
            )
        unfinished.rename(program.binary)
    forget_old(program)


def build_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of `go build`.

    The compiler collects its garbage less often, which saves a sixth of its time; up to a limit for
    each of its processes, since a machine with many cores runs many of them. What is set stays.
    """
    return {"GOGC": "400", "GOMEMLIMIT": "1GiB", **given, "CGO_ENABLED": "0"}


def run_with_progress(command: list[str], program: Program) -> tuple[int, str]:
    """Run a `go build -v`, counting the packages it names. Returns its status and last lines."""
    lines: list[str] = []
    process = subprocess.Popen(
        command,
        cwd=program.source,
        env=build_environment(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
    reader.start()
    start = time.monotonic()
    while True:
        try:
            process.wait(timeout=20)
            break
        except subprocess.TimeoutExpired:
            seconds = time.monotonic() - start
            latest = lines[-1].strip() if lines else "modules are being fetched"
            say(f"  {program.name}: {seconds:.0f} s, {len(lines)} packages, now {latest}")
    reader.join(timeout=60)
    return process.returncode, "".join("    " + line for line in lines[-15:]).rstrip()


def link(program: Program) -> None:
    """Make bin/<name> point at the binary."""
    folder = home() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name in program.links:
        wanted = os.path.relpath(program.binary, folder)
        path = folder / name
        if path.is_symlink() and os.readlink(path) == wanted:
            continue
        fresh = folder / f".{name}.{os.getpid()}"
        fresh.symlink_to(wanted)
        fresh.rename(path)


def forget_old(program: Program, keep: int = 2) -> None:
    """Keep the newest binaries of a program: two checkouts may want two."""
    found = list(program.binary.parent.glob(f"{program.name}-????????????????"))
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[keep:]:
        path.unlink()
