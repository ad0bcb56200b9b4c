"""How the trainer's image is kept small: what goes, and how torch does without CUDA."""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    """A script of the image's build, which is in no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "trainer_image" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


check, prune, without_cuda = map(script, ("check", "prune", "without_cuda"))


def a_file(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


KEPT = (
    "triton/_C/libtriton.so", "triton/backends/nvidia/bin/ptxas", "triton/backends/amd/compiler.py",
    "triton/backends/nvidia/lib/libdevice.10.bc", "triton/backends/nvidia/include/cuda.h",
    "nvidia/cu13/lib/libcusolver.so.12", "nvidia/nvshmem/lib/libnvshmem_host.so.3",
    "nvidia/cu13/lib/libcupti.so.13", "torch/lib/libtorch_cpu.so", "torch/bin/torch_shm_manager",
    "torch/testing/__init__.py", "numpy/testing/__init__.py", "sympy/ntheory/primetest.py",
)  # fmt: skip
GOES = (
    "nvidia/cu13/lib/libcudart_static.a", "triton/backends/nvidia/lib/cupti/libcupti_static.a",
    "triton/backends/amd/lib/libtriton_amd_codegen.so", "nvidia/cu13/lib/libcusolverMg.so.12",
    "triton/backends/nvidia/lib/cupti-blackwell/libcupti.so", "nvidia/cu13/include/cuda.h",
    "nvidia/nvshmem/lib/libnvshmem_device_sm_90.bc", "numpy/_core/tests/test_umath.py",
    "scipy/stats/tests/data/a.npy", "test/test_ops.py", "triton/_C/libproton.so",
)  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_what_nothing_can_use_goes_and_all_else_stays(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*KEPT, *GOES, "torch/include/torch/torch.h", "torchao/_C_mxfp8.abi3.so"):
        a_file(tmp_path / name, 1_000_000)
    gone = prune.remove(tmp_path, device)
    left = {str(path.relative_to(tmp_path)) for path in prune.files(tmp_path)}
    compiled = {"torch/include/torch/torch.h", "torchao/_C_mxfp8.abi3.so"}
    assert left == {*KEPT, *(compiled if device == "gpu" else ())}
    assert {"libproton.so", "libcusolverMg.so.12", "libcupti.so"} <= gone
    assert "removed     2 MB: static libraries: nothing is linked here" in capsys.readouterr().out


def test_a_library_that_another_needs_is_missed(tmp_path: Path) -> None:
    needs_gcc()
    one, two = tmp_path / "libone.so", tmp_path / "libtwo.so"
    compile_c("int one(void) { return 1; }", one, "-Wl,-soname,libone.so")
    compile_c("int one(void); int two(void) { return one(); }", two, str(one))
    assert prune.missed(tmp_path, {"libother.so"}) == []
    one.unlink()
    assert prune.missed(tmp_path, {"libone.so"}) == ["libtwo.so needs libone.so"]


def test_a_library_loses_what_debuggers_read_and_still_works(tmp_path: Path) -> None:
    needs_gcc()
    library = tmp_path / prune.STRIPPED[0]
    library.parent.mkdir(parents=True)
    compile_c("static int two(void) { return 2; } int one(void) { return two() - 1; }", library)
    before = library.read_bytes()
    prune.strip(tmp_path)
    assert b".symtab" in before
    assert b".symtab" not in library.read_bytes()
    assert ctypes.CDLL(str(library)).one() == 1


def test_an_image_over_its_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune.LIMITS == {"cpu": 1_800_000_000, "gpu": 5_700_000_000}
    a_file(tmp_path / "torch", 3_000_000)
    prune.check_size("cpu", tmp_path)
    says = f"{tmp_path} of the image for CPUs has 3 MB, unpacked; the limit is 1,800 MB"
    assert says in capsys.readouterr().out
    monkeypatch.setitem(prune.LIMITS, "cpu", 2_000_000)
    remedy = "see what grew, or raise LIMITS in trainer_image/prune.py"
    with pytest.raises(SystemExit, match=f"error: it is too big: {remedy}"):
        prune.check_size("cpu", tmp_path)


def test_the_size_of_a_base_image_of_ones_own_does_not_count() -> None:
    """What the build installs is measured, where install.sh puts it."""
    assert inspect.signature(prune.check_size).parameters["root"].default == prune.INSTALLED
    install = (ROOT / "trainer_image" / "install.sh").read_text()
    assert f"export VIRTUAL_ENV={prune.INSTALLED} " in install


@pytest.mark.parametrize("device, cuda, other", [("gpu", False, "cpu"), ("cpu", True, "gpu")])
def test_a_torch_for_another_device_is_refused_before_anything_is_imported(
    device: str, cuda: bool, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`TORCH_INDEX=…/whl/cpu` alone, as was documented once, ended in a missing triton."""
    imported: list[str] = []
    monkeypatch.setattr(check.importlib, "import_module", imported.append)
    monkeypatch.setattr(check.torch.backends.cuda, "is_built", lambda: cuda)
    with pytest.raises(SystemExit, match=f"built for {other}: add --build-arg DEVICE={other}"):
        check.main(device)
    assert imported == []


def needs_gcc() -> None:
    if not shutil.which("gcc") or not shutil.which("nm"):
        pytest.skip("gcc and nm are not here: the image's build, which has them, does the same")


def compile_c(code: str, library: Path, *more: str) -> None:
    command = ["gcc", "-shared", "-fPIC", "-o", str(library), "-x", "c", "-", "-x", "none", *more]
    subprocess.run(command, input=code, text=True, check=True)


def test_what_is_asked_of_cuda_gets_an_answer_in_words(tmp_path: Path) -> None:
    """A library of the same names, which a program for Python can load and call."""
    needs_gcc()
    library = tmp_path / "libreplaced.so"  # torch's own name would stand for torch's in here
    names = {"_ZN2at4cuda5sleepEl", "_ZTI4Kind", "_ZTV4Kind", *without_cuda.CALLED_AT_IMPORT}
    without_cuda.make(library, names)
    assert without_cuda.offered(library) >= names
    ctypes.CDLL("libstdc++.so.6", mode=ctypes.RTLD_GLOBAL)
    loaded = ctypes.CDLL(str(library))
    place = getattr(loaded, without_cuda.CALLED_AT_IMPORT[0])
    place.restype = ctypes.c_void_p
    assert ctypes.c_void_p.from_address(place()).value is None
    says = subprocess.run(
        [sys.executable, "-c", CALL, library], capture_output=True, text=True, check=False
    ).stderr
    assert f"{without_cuda.SAYS} (it has no _ZN2at4cuda5sleepEl)." in says


def test_data_that_a_newer_torch_shares_is_refused(tmp_path: Path) -> None:
    """Code in its place would be read as data, and the build pass."""
    needs_gcc()
    library = tmp_path / "libshares.so"
    names = "function", "weak", "zeros", "given", "fixed", "_ZTI4Kind", "_ZTV4Kind"
    code = """
        int function(void) { return 1; } __attribute__((weak)) int weak(void) { return 1; }
        int zeros[4]; int given = 1; const int fixed = 1;
        void *_ZTI4Kind[2] = {&given, &given}; __attribute__((weak)) void *_ZTV4Kind[2];
    """
    compile_c(code, library)
    without_cuda.refuse_data({"function", "weak", "_ZTI4Kind", "_ZTV4Kind"}, library)
    with pytest.raises(SystemExit, match="error: fixed, given, zeros of torch's part") as why:
        without_cuda.refuse_data(set(names), library)
    assert "trainer_image/without_cuda.py" in str(why.value)


CALL = """
import ctypes, sys
ctypes.CDLL("libstdc++.so.6", mode=ctypes.RTLD_GLOBAL)
ctypes.CDLL(sys.argv[1])._ZN2at4cuda5sleepEl()
"""


def test_torch_says_that_it_has_no_cuda(tmp_path: Path) -> None:
    """The lines of the locked torch that say so are found, and once."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    locked = Path(str(found.origin)).parent
    for name in without_cuda.PATCHES:
        copied = tmp_path / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(locked / name, copied)
    without_cuda.patch(tmp_path)
    version = (tmp_path / "version.py").read_text()
    assert "cuda: Optional[str] = None" in version
    with pytest.raises(SystemExit, match="0 times, not once"):
        without_cuda.patch(tmp_path)
