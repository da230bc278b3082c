"""What the study compares: ways to teach, each one option away from the default, and the methods against each other."""

from __future__ import annotations

from study_runs import Arm

DEFAULT = "default"

TEXT_ONLY = "default, words alone"

METHODS = [
    Arm(DEFAULT, refinement="auto"),
    Arm(TEXT_ONLY),
    *(Arm(name, method=name, refinement="auto") for name in ("kd", "embedding", "promptkd")),
    Arm("eikd", method="eikd", refinement="auto", select="threshold"),
    Arm("nvidia", method="nvidia"),
    Arm("default, half by threshold", refinement="auto", select="threshold", share=0.5),
]
"""Measured on every set. The first is what a build does that names no method, and where the class vectors are refined
(as they are where the verdict can check it) all others have the same ones; nvidia's recipe is as it is."""

CONVERGENCE = [
    Arm("eikd", method="eikd", select="threshold", share=0.5),
    Arm("kd", method="kd"),
    Arm("kd, half at random", method="kd", select="random", share=0.5),
]
"""Asked after every epoch. Equal image-steps: half of the photos are seen twice as often."""


def _prg(name: str, *options: str, **more: object) -> Arm:
    """The default with something else in its place."""
    return Arm(name, options=options, **{"refinement": "auto", **more})  # type: ignore[arg-type]


ABLATIONS = {
    "": [_prg(DEFAULT)],
    "class vectors": [
        _prg("words alone", refinement="none"),
        _prg("visual proxies", refinement="visual"),
    ],
    "prompt weights": [
        _prg("uniform", weighting="uniform"),
        _prg("zero-shot-pool", weighting="zero-shot-pool"),
        _prg("max-logit an image", "prompts=max-logit", refinement="none"),
        _prg("max-softmax an image", "prompts=max-softmax", refinement="none"),
        _prg("debiased an image", "prompts=debiased", refinement="none"),
    ],
    "proxies": [
        _prg("prompt-mean", "proxies=prompt-mean"),
        _prg("visual", "proxies=visual"),
        _prg("centroids", "proxies=centroids"),
        _prg("student's classifier", "student_proxies=classifier"),
        _prg("student's centroids", "student_proxies=centroids"),
    ],
    "edges": [
        _prg("none", "alpha=0"),
        _prg("class alone", "edges=class"),
        _prg("images alone", "edges=images"),
        _prg("mean-view", "edges=mean-view,images"),
        _prg("class, images, proxies", "edges=class,images,proxies", "student_proxies=centroids"),
        _prg("pearson", "correlation=pearson"),
    ],
    "losses": [
        _prg("edges by col", "edge_loss=col"),
        _prg("edges by row", "edge_loss=row"),
        _prg("edges by mse", "edge_loss=mse"),
        _prg("no feature term", "feature=0"),
        _prg("feature term x4", "feature=4"),
        _prg("cross-entropy, confident", "gamma=1"),
        _prg("cross-entropy, all", "gamma=1", "ce_rows=all"),
    ],
    "other methods": [
        *(Arm(name, method=name, refinement="auto") for name in ("kd", "dkd", "dist", "ls", "affinity", "queue")),
        Arm(
            "data-free",  # as its row was made: by now its defaults are for images that were made, not for photos
            method="data-free",
            options=("embedding=0", "affinity=1"),
            refinement="auto",
            training={"norm": "auto"},
        ),
    ],
    "selection": [
        _prg("half, by threshold", select="threshold", share=0.5),
        _prg("half, at random", select="random", share=0.5),
    ],
    "views": [
        _prg("1 view", views=1),
        _prg("4 views", views=4),
        _prg("16 views", views=16),
        _prg("8 views and 8 mixed", mixed=True),
        _prg("match", training={"views": "match"}),
        _prg("mean", training={"views": "mean"}),
    ],
    "start and rates": [
        _prg("backbone rate x3", training={"lr": 3e-4}),
        _prg("backbone rate x10", training={"lr": 1e-3}),
        _prg("head rate / 3", training={"head_lr": 1e-3}),
        _prg("batch statistics", training={"norm": "batch"}),
    ],
    "patience": [
        _prg("x3", patience=3.0),
        _prg("x10", patience=10.0),
    ],
}
"""On the development sets alone: what is chosen, is chosen there."""
