"""What each way to write prompts for images costs, and how diverse its prompts are.

    OMP_NUM_THREADS=1 python benchmarks/prompt_ways.py --json benchmarks/results/prompt_ways.json

By default the classes and the teacher are the example's. Rows, the way in front; each is over the seeds:

    seconds       processor time, which other programs on the machine hardly change
    cosine        mean over pairs of prompts inside a class; lower is more diverse
    rank          effective rank of what differs inside classes
    agreement     share that the teacher takes for their class
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import process_time

import rows

from edgedistill.classes.templates import template_set
from edgedistill.classes.text_bank import build_text_bank
from edgedistill.labels import Labels
from edgedistill.synthesis.candidates import Subject
from edgedistill.synthesis.diversity import Diversity, diversity
from edgedistill.synthesis.prompts import WAYS, diversified
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=Path, default=EXAMPLES / "parts" / "labels.txt")
    parser.add_argument("--teacher", default=f"local-dir:{EXAMPLES / 'teacher'}")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--count", type=int, default=32, help="prompts a class")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    teacher, labels = Teacher(find_teacher(options.teacher), dtype="float32"), Labels.read(options.classes)
    subject = Subject(build_text_bank(teacher, labels, template_set("general")), teacher, labels)
    found = list[rows.Row]()
    for way in options.ways:
        seconds, figures = zip(*(written(way, options.count, subject, seed) for seed in options.seeds))
        found.append(rows.row(f"{way} seconds", seconds, "s"))
        found.append(rows.row(f"{way} cosine", [each.cosine for each in figures], "cosine"))
        found.append(rows.row(f"{way} rank", [each.rank for each in figures], "rank"))
        found.append(rows.row(f"{way} agreement", [each.agreement for each in figures], "share"))
    rows.report(found, options.json)


def written(way: str, count: int, subject: Subject, seed: int) -> tuple[float, Diversity]:
    began = process_time()
    prompts = diversified(way, count, subject.bank, subject.teacher, subject.labels, seed)
    return process_time() - began, diversity(prompts.targets, prompts.classes, subject.vectors)


if __name__ == "__main__":
    main()
