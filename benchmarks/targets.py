"""The target pass: what making a teacher store costs beside the teacher itself, and whether its memory is bounded.

    python benchmarks/targets.py                                      ViT-B/32-shaped tower at 224 px, random weights
    python benchmarks/targets.py --tower mobilenetv2_100 --size 176
    python benchmarks/targets.py --teacher local-dir:examples/teacher
    python benchmarks/targets.py --memory                             RssAnon at 1,000 and 50,000 images, tiny teacher
    python benchmarks/targets.py --train-on cuda --tower vit_b_16     on a GPU

The pass is `fill.build_store` as a build runs it: read, decode, cached pixels, hashes, 8 views, features, sums, files.
The bare forward runs the same network, in the dtype and with the threads the product picks, over batches that are
already decoded, cropped and normalised. Both do the same number of forwards in turn, round after round: seven rounds,
fewer (but three) on a machine where they would take more than three minutes.

On a GPU the bare forward runs at whichever batch of 64, 256 and 1,024 views is fastest there: the limit of the GPU. A
further row compares the pass with what all cores could decode, which bounds it when the tower is small.

Photos are JPEGs of short side 256, generated, or made from `--images DIR`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from io import BytesIO
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import rows
from PIL import Image

if TYPE_CHECKING:
    from edgedistill.images.pool import Pool
    from edgedistill.teacher.tower import Teacher

VIEWS = 8
SHORT_SIDE = 256
MOST_S = {"cpu": 180, "cuda": 30}  # of timing: a run on two cores stays under five minutes, one on a GPU under one
COUNT = {"cpu": 32, "cuda": 2048}  # photos a round
TOWERS = {  # as open_clip describes them
    "vit_b_32": {"layers": 12, "width": 768, "patch_size": 32},
    "vit_b_16": {"layers": 12, "width": 768, "patch_size": 16},
    "vit_l_14": {"layers": 24, "width": 1024, "patch_size": 14},
    "tiny": {"layers": 1, "width": 32, "patch_size": 16, "head_width": 32},
}
DIM = {"tiny": 64, "vit_l_14": 768}  # of the joint space; 512 for the others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", help="a teacher with weights, as `edgedistill build --teacher` takes it")
    towers = ", ".join(TOWERS)
    parser.add_argument("--tower", default="vit_b_32", help=f"shape of a random teacher: {towers}, or any timm name")
    parser.add_argument("--size", type=int, default=224, help="input size of the random teacher")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    parser.add_argument("--images", type=Path, help="photos to use instead of generated ones")
    parser.add_argument("--train-on", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--count", type=int, help=f"photos a round ({COUNT['cpu']}, on a GPU {COUNT['cuda']:,})")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, help="decoding threads, on a GPU processes")
    parser.add_argument("--bar", type=float, help="the ratio to reach; vit_b_32: 0.90, others: 0.75, on a GPU: 0.85")
    parser.add_argument(
        "--memory", type=int, nargs="*", metavar="N", help="measure memory instead, at two pool sizes (1000 50000)"
    )
    parser.add_argument("--memory-child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.memory_child:
        print(json.dumps(_peak_anonymous_mib(options.memory_child)))
        return
    if options.memory is None:
        found = _speed(options)
    elif len(options.memory) in (0, 2):
        found = _memory(*options.memory)
    else:
        parser.error("--memory takes two pool sizes, or none")
    rows.report(found, options.json)


def _speed(options: argparse.Namespace) -> list[rows.Row]:
    from edgedistill.distil.arithmetic import choose_device
    from edgedistill.images.pixels import short_side_for
    from edgedistill.images.pool import scan
    from edgedistill.teacher.fill import TeacherPass, build_store
    from edgedistill.teacher.gpu_pass import best_batch
    from edgedistill.teacher.names import find_teacher
    from edgedistill.teacher.tower import Teacher

    on_gpu = choose_device(options.train_on).type == "cuda"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        name = options.teacher or f"local-dir:{_random_teacher(folder / 'teacher', options.tower, options.size)}"
        teacher = Teacher(find_teacher(name), options.train_on, options.dtype)
        teacher.free_text()
        pool = scan(_photos(folder / "photos", options.count or COUNT[options.train_on], options.images))
        size, stores = teacher.image_size, count()
        gpu_batch = best_batch(teacher)[0] if on_gpu else None

        def target_pass() -> None:
            work = TeacherPass(
                pool, teacher, seed=0, views=VIEWS, short_side=short_side_for(size, 224), gpu_batch=gpu_batch
            )
            build_store(folder / f"store-{next(stores)}", work, workers=options.workers)

        bare_batch, bare_forward = _bare_forward(teacher, len(pool) * VIEWS, on_gpu)
        candidates = {"pass": target_pass, "bare": bare_forward}
        most_s = MOST_S[options.train_on]
        seconds = rows.interleave(candidates, rounds=options.rounds, most_s=most_s)
        decoded = _decoding_alone(pool) if on_gpu else None
    shape = options.teacher or options.tower
    label = f"{shape} {size} px, {teacher.dtype}"
    bar = options.bar or (0.85 if on_gpu else 0.90 if shape == "vit_b_32" else 0.75)
    # The smallest tower is faster than any decoding: there the cores are the limit, in a row of their own.
    bound = on_gpu and shape == "vit_b_32"
    found = [
        rows.row(f"target pass, {label}", len(pool) / seconds["pass"], "images/s"),
        rows.row(
            f"bare forward of {VIEWS} views, batch {bare_batch}, {label}", len(pool) / seconds["bare"], "images/s"
        ),
        rows.row(
            f"target pass / bare forward, {label}",
            seconds["bare"] / seconds["pass"],
            "ratio",
            "" if bound else f">= {bar:.2f}",
        ),
    ]
    if decoded is not None:
        cores = len(os.sched_getaffinity(0))
        ratio = len(pool) / seconds["pass"] / (cores * np.median(decoded))
        found += [
            rows.row("decoding alone, one core", decoded, "images/s"),
            rows.row(f"target pass / {cores} cores' decoding, {label}", ratio, "ratio", ">= 0.70" if bound else ""),
        ]
    return found


def _bare_forward(teacher: Teacher, views: int, on_gpu: bool) -> tuple[int, Callable[[], None]]:
    """(batch, a call that runs the tower alone over `views` views): on a GPU at the fastest of three batches."""
    import torch

    from edgedistill.teacher.fill import BATCH_VIEWS

    size, draw = teacher.image_size, np.random.default_rng(0)

    def forward(batch: int) -> Callable[[], None]:
        images = draw.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        ready = teacher.normalised(images).to(teacher.torch_dtype)

        def run() -> None:
            with torch.inference_mode():
                for start in range(0, views, batch):
                    teacher.model.encode_image(ready[: views - start])
            if on_gpu:
                torch.cuda.synchronize()

        return run

    if not on_gpu:
        return BATCH_VIEWS, forward(BATCH_VIEWS)
    calls = {str(batch): forward(batch) for batch in (64, 256, 1024)}
    seconds = rows.interleave(calls, rounds=3)
    best = min(calls, key=lambda batch: np.median(seconds[batch]))
    return int(best), calls[best]


def _decoding_alone(pool: Pool) -> np.ndarray:
    """Images a second that one core decodes, nothing else: seven samples of 32 photos."""
    from edgedistill.targets.preprocess import decode

    found = []
    for turn in range(7):
        data = [pool.read(row) for row in range(32 * turn % len(pool), min(32 * turn % len(pool) + 32, len(pool)))]
        began = perf_counter()
        for one in data:
            decode(one)
        found.append(len(data) / (perf_counter() - began))
    return np.array(found)


def _memory(few: int = 1_000, many: int = 50_000) -> list[rows.Row]:
    """Peak RssAnon of a fresh process that scans, makes a store and reads it back, for two pool sizes in turn."""

    def peak(images: int) -> float:
        child = [sys.executable, __file__, "--memory-child", str(images)]
        return json.loads(subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout)

    small, large = np.array([(peak(few), peak(many)) for _ in range(2)]).T
    return [
        rows.row(f"peak RssAnon, {few:,} images", small, "MiB"),
        rows.row(f"peak RssAnon, {many:,} images", large, "MiB"),
        rows.row(f"RssAnon at {many:,} / at {few:,} images", large / small, "ratio", "<= 1.10"),
    ]


def _peak_anonymous_mib(images: int) -> float:
    import torch

    from edgedistill.images.pool import scan
    from edgedistill.teacher.fill import TeacherPass, build_store
    from edgedistill.teacher.names import find_teacher
    from edgedistill.teacher.store import TeacherStore
    from edgedistill.teacher.tower import Teacher

    torch.set_num_threads(1)
    peak = 0.0
    finished = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not finished.wait(0.01):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    peak = max(peak, int(line.split()[1]) / 1024)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # 64 x 48 px, so that 50,000 take a minute: what would grow with the pool is what we keep per image.
        _photos(folder / "photos", images, None, short_side=48)
        files = find_teacher(f"local-dir:{_random_teacher(folder / 'teacher', 'tiny', 32)}")
        teacher = Teacher(files, dtype="float32")
        watcher = threading.Thread(target=watch)
        watcher.start()
        pool = scan(folder / "photos")
        build_store(folder / "store", TeacherPass(pool, teacher, seed=0, views=VIEWS, short_side=48))
        store = TeacherStore.open(folder / "store")
        store.mean_feature()
        order = np.random.default_rng(0).permutation(len(store))
        for start in range(0, len(order), 128):
            part = order[start : start + 128]
            store.view_targets(part, part % VIEWS)
            store.pixels.crops(part, part % VIEWS, 32)
        finished.set()
        watcher.join()
    return peak


def _random_teacher(folder: Path, tower: str, size: int) -> Path:
    """An open_clip local-dir with random weights and the image tower of that shape; its text tower is a stub."""
    from edgedistill.teacher.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import open_clip
    import torch
    from safetensors.torch import save_file

    vision: dict[str, object] = {"image_size": size}
    vision |= TOWERS.get(
        tower, {"timm_model_name": tower, "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear"}
    )
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    config = {"embed_dim": DIM.get(tower, 512), "vision_cfg": vision, "text_cfg": text}
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    custom = "timm_model_name" in vision
    config |= {"custom_text": True} if custom else {}
    torch.manual_seed(0)
    shape = {key: value for key, value in config.items() if key != "custom_text"}
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**shape)
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def _photos(folder: Path, number: int, source: Path | None, short_side: int = SHORT_SIDE) -> Path:
    """`number` different JPEG files of that short side; a few pictures serve many, told apart by a trailing counter."""
    folder.mkdir(parents=True)
    if source is None:
        pictures = [_picture(seed, short_side) for seed in range(min(number, 64))]
    else:
        names = sorted(p for p in source.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
        pictures = [Image.open(name).convert("RGB") for name in names[: min(number, 1000)]]
    files = []
    for picture in pictures:
        scale = short_side / min(picture.size)
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
        )
        data = BytesIO()
        picture.save(data, "JPEG", quality=90)
        files.append(data.getvalue())
    for k in range(number):
        # Decoders stop at the end-of-image marker, so bytes after it change the content hash and nothing else.
        (folder / f"{k:06d}.jpg").write_bytes(files[k % len(files)] + b"%d" % k)
    return folder


def _picture(seed: int, short_side: int) -> Image.Image:
    """A 4:3 picture with structure at every scale (falling like 1/f, as in photographs), so that it packs like one."""
    random = np.random.default_rng(seed)
    width, height = round(short_side * 4 / 3), short_side
    picture = np.zeros((height, width, 3))
    cells = 2
    while cells < short_side:
        noise = random.normal(size=(cells, round(cells * 4 / 3), 3)).astype(np.float32)
        layers = [Image.fromarray(noise[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
        picture += np.stack([np.asarray(layer) for layer in layers], axis=-1) * 60 / cells**0.5
        cells *= 2
    return Image.fromarray((128 + picture).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
