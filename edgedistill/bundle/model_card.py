"""MODEL_CARD.md: what a model is, what it was made from and under which terms, how it is measured, where it ends."""

from __future__ import annotations

from ..export.graph import preprocessing
from ..targets.printable import markdown as shown
from .content import Content


def model_card(content: Content) -> str:
    """The card of one bundle, as Markdown. Holds no figure of a measurement: those stand in verdict.json."""
    teacher, student, profile, check = content.teacher, content.student, content.profile, content.check
    labels = content.labels.entries
    known = int(check.labelled.sum())
    truth = f"{known} of them have a true label" if known else "none has a true label, so accuracy is not known"
    classes = [
        f"- {shown(label.name)}" + (f" ({', '.join(map(shown, label.synonyms))})" if label.synonyms else "")
        for label in labels
    ]
    models = [
        f"| models/{model.precision}.onnx | {model.bytes / 1e6:.1f} MB | {model.max_abs_diff:.1e} |"
        for model in content.exports.models
    ]
    left_out = [f"Not built: {name} ({shown(reason)})." for name, reason in content.exports.not_built.items()]
    shots, what = content.class_vectors.few_shot, content.class_vectors.few_shot_tune
    tuned = {"vectors": "The class vectors", "prompts": "The teacher's prompts, and with them the class vectors,"}[what]
    refined = content.class_vectors.refinement
    moved = f" Its class vectors were moved to those photos ({refined})." if refined != "none" else ""
    labels_used = f"{tuned} were tuned on {shots} labelled photos." if shots else ""
    lines = [
        f"# Classifier for {len(labels)} classes, made for {shown(profile.title)}",
        "",
        f"A {shown(student.name)}, taught by {shown(teacher.id)} from class names and unlabelled photos.{moved}",
        labels_used or "No label took part in training.",
        "",
        "## Classes",
        "",
        *classes,
        "",
        "## Input and output",
        "",
        f"- `image`: uint8 [N, {content.size}, {content.size}, 3], RGB, 0 to 255. Scaling is part of the model.",
        f"- From a file to these pixels: {preprocessing(content.size)['resize']}.",
        f"- `probabilities`: float32 [N, {len(labels)}], in the order above.",
        f"- `embedding`: float32 [N, {teacher.dim}], unit length, in the teacher's text-image space.",
        "- `known`: float32 [N], 0 to 1.",
        "- `golden.npz`: images with the right answers, to check another implementation with.",
        "",
        "| file | size | largest difference of a probability from torch in float32 |",
        "|---|---|---|",
        *models,
        *(["", *left_out] if left_out else []),
        "",
        "## Origin and terms",
        "",
        "| | what | terms |",
        "|---|---|---|",
        f"| teacher | {shown(teacher.id)} (SHA-256 {teacher.hash}) | {shown(teacher.licence)} |",
        f"| student | {shown(student.name)}: {shown(student.weights)} | {shown(student.licence)} |",
        "",
        "What you may do with this model depends on the terms of both weights and of your photos.",
        "edgedistill itself is under Apache-2.0.",
        "",
        "## How it is measured",
        "",
        f"On {len(check)} images that took no part in training ({check.info.source}); {truth}.",
        "Agreement is the share of them where student and teacher choose the same class, with its 95 % interval.",
        "`verdict.json` holds the figures and the machine they come from; without it, nothing has been measured.",
        "On the device: `python3 run.py verify`; on a board with TensorRT, `python3 run.py compile` first.",
        "",
        "## Limits",
        "",
        "It chooses among its classes whatever the picture shows: `known` is its largest probability, no test for",
        "foreign objects. It repeats its teacher's mistakes, and holds for pictures like those it was checked on.",
        "",
        f"Build {content.build_id}",
    ]
    return "\n".join(lines) + "\n"
