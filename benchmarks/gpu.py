"""Everything that is promised of a GPU: one table from step_time.py, targets.py, the tests on the GPU, builds, and a
bundle for a GPU measured on it.

    sh benchmarks/gpu.sh                    where nothing can be installed; it calls this
    python benchmarks/gpu.py --out .edgedistill/gpu

Each part is a process with a time limit of its own and writes OUT/PART.log; one that fails or runs out of time is a
line of the table that says so, and the others go on. One whose runtime is not here (onnxruntime-gpu, TensorRT) is not
run, which the table says as well. All of it is cut off after ten minutes. Rows go to OUT/gpu.json.

    tests      tests that have a `cuda` case: what the GPU gives is what the CPU gives
    bundle     one of profile cuda, hardly trained, for the parts below
    verify     its models under onnxruntime-cuda, and under TensorRT: p50, and golden answers without TF32
    compile    TensorRT's engines of it
    io_binding inputs and outputs bound, and a CUDA graph, over the plain session of onnxruntime-cuda (io_binding.py)
    step       epoch / captured step of four students, bfloat16, batch 128 (step_time.py)
    pass       teacher's pass / bare tower at its best batch, 8 views, for three towers (targets.py)
    images     images of 224 px made under the example's teacher / the passes they cannot do without (teacher_engine.py)
    build      labels and photos of the example to a verdict, twice, each time from nothing; the second one counts
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rows

from edgedistill.targets.names import CPU, CUDA, TENSORRT
from edgedistill.targets.runtimes import problem

LIMIT_S = 600.0
STUDENTS = (("tf_mobilenetv3_small_100", 160), ("mobilenetv3_large_100", 224), ("resnet18", 224), ("resnet50", 224))
TOWERS = ("vit_b_32", "vit_b_16", "vit_l_14")
GPU_TESTS = ("tests/images", "tests/distil", "tests/teacher")


@dataclass(frozen=True)
class Part:
    """One line of work: arguments for python, the seconds it may take, where its rows are (None: it writes none), the
    folder of results that it writes (None: none), and the runtime that it needs (None: none of the device side's)."""

    name: str
    arguments: list[str]
    seconds: float
    json: Path | None = None
    results: Path | None = None
    needs: str | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the repository")
    parser.add_argument("--out", type=Path, default=Path(".edgedistill/gpu"), help="where logs and rows go")
    parser.add_argument("--train-on", default="cuda", choices=["cuda", "cpu"], help="cpu: to try this script itself")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to try this script itself")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts alone, by the first word of their name")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    began, lines, failed, left_out = time.monotonic(), list[dict[str, Any]](), list[str](), list[str]()
    for part in parts(options):
        if options.only and part.name.split()[0] not in options.only:
            continue
        if part.needs and (lack := problem(part.needs)):
            print(f"{part.name:<40} {'':>7} not run", flush=True)
            left_out.append(f"{part.name}: {lack.wrong}")
            continue
        left = LIMIT_S - (time.monotonic() - began)
        taken, why = run(part, options.out, min(part.seconds, left))
        print(f"{part.name:<40} {taken:5.0f} s  {why or 'done'}", flush=True)
        if why:
            failed.append(f"{part.name}: {why}")
        elif part.json:
            lines += json.loads(part.json.read_text(encoding="utf-8"))
        elif part.results:
            found, troubles = verify_rows(part)
            lines += found
            failed += troubles
        elif part.name.startswith("build"):
            lines += build_rows(part, taken, options)
    show(lines, failed, left_out)
    (options.out / "gpu.json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if failed else 0)


def parts(options: argparse.Namespace) -> Iterator[Part]:
    """What is run, in the order of what matters most if the time is short."""
    scripts, out, on = options.root / "benchmarks", options.out.resolve(), ["--train-on", options.train_on]
    tests = [str(options.root / folder) for folder in GPU_TESTS]
    yield Part("tests on the GPU", ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "cuda", *tests], 120)
    yield from inference_parts(options)
    for name, size in STUDENTS[:1] if options.quick else STUDENTS:
        file = out / f"step-{name}.json"
        command = [str(scripts / "step_time.py"), *on, "--student", name, "--sizes", str(size), "--no-live"]
        command += ["--dtype", "bfloat16"] if options.train_on == "cuda" else []
        command += ["--batch", "8", "--steps", "1", "--rounds", "1"] if options.quick else []
        yield Part(f"step {name} {size}", [*command, "--json", str(file)], 60, file)
    if not options.quick:
        file = out / "step-searched.json"
        command = [str(scripts / "step_time.py"), *on, "--student", STUDENTS[0][0], "--sizes", str(STUDENTS[0][1])]
        command += ["--no-live", "--cudnn-search", "--dtype", "bfloat16", "--json", str(file)]
        yield Part("step searched", command, 90, file)
    for name in ("tiny",) if options.quick else TOWERS:
        file = out / f"pass-{name}.json"
        command = [str(scripts / "targets.py"), *on, "--tower", name]
        command += ["--size", "32", "--count", "8", "--rounds", "1"] if options.quick else []
        yield Part(f"pass {name}", [*command, "--json", str(file)], 90, file)
    yield made_images(options)
    for turn in (1,) if options.quick else (1, 2):
        yield Part(f"build {turn}", build_command(options, turn), 150)


def inference_parts(options: argparse.Namespace) -> Iterator[Part]:
    """A bundle for a GPU, and what its runtimes make of it. Without a GPU the processor's takes onnxruntime-cuda's
    place, to try this script itself."""
    out, runtime = options.out.resolve(), CUDA if options.train_on == "cuda" else CPU
    build = [*build_command(options, "cuda", "cuda"), "--qat", "never", "--device", "folder"]
    build += [] if options.quick else ["--epochs", "1", "--views", "2"]
    yield Part("bundle", build, 120)
    device = str(out / "bundle-cuda" / "run.py")
    for name in (runtime, TENSORRT):
        if name == TENSORRT:
            yield Part(f"compile {name}", [device, "compile"], 150, needs=name)
        results = out / f"verify-{name}"
        command = [device, "verify", "--mode", "quick", "--runtime", name, "--out", str(results)]
        yield Part(f"verify {name}", command, 90, results=results, needs=name)
    file = out / "io_binding.json"
    command = [str(options.root / "benchmarks" / "io_binding.py"), "--runtime", runtime, "--json", str(file)]
    command += ["--rounds", "20"] if options.quick else []
    yield Part("io_binding", [*command, "--bundle", str(out / "bundle-cuda")], 60, file, needs=runtime)


def made_images(options: argparse.Namespace) -> Part:
    """Images from class names, as many at once as keep a GPU busy."""
    file = options.out.resolve() / "images.json"
    command = [str(options.root / "benchmarks/teacher_engine.py"), "--train-on", options.train_on, "--size", "224"]
    command += ["--batch", "2", "--steps", "1", "--rounds", "1"] if options.quick else ["--batch", "48"]
    return Part("images under the teacher", [*command, "--json", str(file)], 90, file)


def build_command(options: argparse.Namespace, turn: int | str, profile: str = "cpu") -> list[str]:
    """The example, as `make demo` builds it, in a work folder of its own."""
    example, out = options.root / "examples", options.out.resolve()
    command = ["-m", "edgedistill", "build", "--profile", profile, "--train-on", options.train_on]
    command += ["--classes", str(example / "parts/labels.txt"), "--images", str(example / "parts/pool")]
    command += ["--check", str(example / "parts/check"), "--teacher", f"local-dir:{example / 'teacher'}"]
    command += ["--student-weights", str(example / "start"), "--input-size", "64" if options.quick else "160"]
    command += ["--epochs", "1", "--views", "2"] if options.quick else []
    return [*command, "--work", str(out / f"work-{turn}"), "--out", str(out / f"bundle-{turn}")]


def run(part: Part, out: Path, seconds: float) -> tuple[float, str | None]:
    """(seconds it took, None or why it counts for nothing)."""
    if seconds <= 1:
        return 0.0, "no time left"
    log = out / f"{part.name.replace(' ', '-')}.log"
    began = time.monotonic()
    with open(log, "wb") as file:
        command = [sys.executable, *part.arguments]
        try:
            code = subprocess.run(command, stdout=file, stderr=file, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            return time.monotonic() - began, f"stopped after {seconds:.0f} s"
    taken = time.monotonic() - began
    # 3 is a build whose verdict is fail, 4 are results that do not count: both say so. 5 is pytest's "none selected".
    if code == 0 or (code == 3 and part.name.startswith("build")) or (code == 4 and part.results):
        return taken, None
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return taken, f"exit {code}: {last[0][:160] if last else 'it said nothing'}"


def build_rows(part: Part, seconds: float, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one build: its wall time, its epochs, its verdict."""
    turn = part.name.split()[-1]
    work, bundle = options.out / f"work-{turn}", options.out / f"bundle-{turn}"
    (metrics,) = work.glob("distil-*/metrics.jsonl")
    header, *epochs = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    verdict = json.loads((bundle / "verdict.json").read_text(encoding="utf-8"))
    times = [epoch["seconds"] for epoch in epochs]
    figures = {
        f"build {turn}: labels and photos to verdict ({verdict['verdict']})": (seconds, "s", "<= 60"),
        f"build {turn}: training": (sum(times), "s", ""),
        f"build {turn}: image-steps": (header["images"] * len(epochs), "images", ""),
        f"build {turn}: agreement": (verdict["agreement"]["value"], "share", ""),
    }
    if verdict["accuracy"]:
        gain = 100 * (verdict["accuracy"]["student"] - verdict["accuracy"]["teacher"])
        figures[f"build {turn}: student - teacher"] = (gain, "points", "")
    if len(times) > 1:
        warm_up = epochs[0].get("warm_up_s", 0.0)
        figures[f"build {turn}: warm-up and capture"] = (warm_up, "s", "")
        later = statistics.median(times[1:])
        figures[f"build {turn}: first epoch / median of the later"] = (times[0] / later, "ratio", "<= 3")
    if "gpu_mb" in epochs[-1]:
        figures[f"build {turn}: GPU memory of training"] = (max(epoch["gpu_mb"] for epoch in epochs), "MB", "")
    return with_facts([alone(figure, *told) for figure, told in figures.items()])


def verify_rows(part: Part) -> tuple[list[dict[str, Any]], list[str]]:
    """(rows of one verify, what is wrong with its results): a candidate that does not run or does not count, and on a
    GPU one that may have computed float32 in TF32."""
    assert part.results is not None
    found, troubles = list[rows.Row](), list[str]()
    for path in sorted(part.results.glob("*.json")):
        one = json.loads(path.read_text(encoding="utf-8"))
        if "failed" in one:
            troubles.append(f"verify {path.stem}: {one['failed']['wrong']}")
            continue
        reasons = [flaw["code"] for flaw in one["invalid"]]
        reasons += ["TF32 is not off"] if one["runtime"].get("tf32", "off") != "off" else []
        troubles += [f"verify {path.stem}: {', '.join(reasons)}"] if reasons else []
        golden = one["golden"]
        limits = (
            ("max_abs_diff", "tolerance"),
            ("embedding_max_diff", "embedding_limit"),
            ("head_max_diff", "head_limit"),
        )
        share = max((golden[value] or 0) / golden[limit] for value, limit in limits)
        found.append(alone(f"verify {path.stem}: golden answers, of what is allowed", share, "share", "<= 1"))
        found.append(alone(f"verify {path.stem}: p50", one["latency_ms"]["p50"], "ms", ""))
    return with_facts(found), troubles


def alone(figure: str, value: float, unit: str, bar: str) -> rows.Row:
    """A figure that was taken once."""
    return rows.Row(figure=figure, value=value, low=value, high=value, unit=unit, bar=bar)


def with_facts(found: list[rows.Row]) -> list[dict[str, Any]]:
    """Rows as they are kept."""
    facts = {"machine": machine(), "command": "sh benchmarks/gpu.sh"}
    return [{**vars(row), "met": row.met, **facts} for row in found]


def machine() -> str:
    """As the other benchmarks name it: only a process that has loaded torch knows the GPU."""
    program = "import torch, rows; print(rows.machine())"
    scripts = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([scripts, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or rows.machine()


def show(lines: list[dict[str, Any]], failed: list[str], left_out: list[str]) -> None:
    """One table, and below it what went wrong and what was not run."""
    print(f"\n{machine()}\n")
    width = max([len(line["figure"]) for line in lines], default=6)
    print(f"{'figure':<{width}}  {'value':>10}  {'quartiles':>23}  {'unit':<8}  {'bar':<10}  met")
    for line in lines:
        kept = {True: "yes", False: "NO", None: ""}[line["met"]]
        spread = f"{line['low']:,.4g} .. {line['high']:,.4g}" if line["low"] != line["high"] else ""
        told = f"{line['figure']:<{width}}  {line['value']:>10,.4g}  {spread:>23}  {line['unit']:<8}  {line['bar']:<10}"
        print(f"{told}  {kept}".rstrip())
    for line in failed:
        print(f"not measured: {line}")
    for line in left_out:
        print(f"not run: {line}")


if __name__ == "__main__":
    main()
