"""The closed lists: every word that a flag, a key of build.toml or an option may be, once.

Whoever needs a type takes the Literal, whoever needs to check or to print takes the tuple. Nothing heavy is imported,
so that the command line can show them. Methods stand where they are made (distil/methods), profiles are files.
"""

from __future__ import annotations

from typing import Literal, get_args

DEFAULT_TEACHER = "ViT-B-16/datacomp_xl_s13b_b90k"

Precision = Literal["auto", "fp32", "fp16", "int8"]
"""What a build may ship; auto: what the device measures to be faster and no worse than fp32."""
PRECISION: tuple[str, ...] = get_args(Precision)

Qat = Literal["auto", "never"]
"""Whether a student is trained on for int8 where that loses too much (distil/fine_tune.py)."""
QAT: tuple[str, ...] = get_args(Qat)

Dtype = Literal["auto", "float32", "bfloat16"]
"""A student's. float16 is not among them: its small range would need the loss scaled up and down while it trains."""
DTYPES: tuple[str, ...] = get_args(Dtype)

TeacherDtype = Literal["auto", "float32", "bfloat16", "float16"]
TEACHER_DTYPES: tuple[str, ...] = get_args(TeacherDtype)

TrainOn = Literal["auto", "cpu", "cuda"]
TRAIN_ON: tuple[str, ...] = get_args(TrainOn)

PromptWeights = Literal["uniform", "zero-shot", "zero-shot-pool"]
"""How the prompts of a class are weighed (classes/prompt_weights.py)."""
PROMPT_WEIGHTS: tuple[str, ...] = get_args(PromptWeights)

Refinement = Literal["auto", "none", "prototypes", "visual"]
"""How class vectors are moved to where the pool's photos lie (classes/refine.py; auto: classes/stages.py)."""
REFINEMENTS: tuple[str, ...] = get_args(Refinement)

ViewTargets = Literal["match", "mean", "blend"]
"""What a crop is taught: its own view's feature, the mean of all views, or a blend of both."""
VIEW_TARGETS: tuple[str, ...] = get_args(ViewTargets)

Norm = Literal["auto", "batch", "start", "held"]
"""Whose statistics BatchNorm uses in training (distil/config.py)."""

SelectBy = Literal["threshold", "confidence", "prototype", "known", "random"]
"""How photos are chosen to train on (distil/selection.py); the first is the default."""
SELECT_BY: tuple[str, ...] = get_args(SelectBy)

FewShotTune = Literal["prompts", "vectors"]
"""What a few labelled photos tune before a student is taught: the teacher's prompts, or the class vectors alone."""
FEW_SHOT_TUNE: tuple[str, ...] = get_args(FewShotTune)

EngineName = Literal["teacher", "diffusers"]
"""What makes images from class names where there are no photos (synthesis/); the first is the default."""
ENGINES: tuple[str, ...] = get_args(EngineName)

Diversify = Literal[
    "plain",
    "styles",
    "mix",
    "mix-tokens",
    "mix-classes",
    "random",
    "random-words",
    "random-noise",
    "contrastive",
    "contrastive-orthogonal",
    "contrastive-in-turn",
]
"""How the prompts of such images are made to differ (synthesis/prompts.py)."""
DIVERSIFY: tuple[str, ...] = get_args(Diversify)
WITH_WORDS: tuple[str, ...] = ("plain", "styles", "random-words")
"""Those whose prompts a text-to-image pipeline can read."""

TemplateSet = Literal["general", "imagenet", "cifar"]
TEMPLATE_SETS: tuple[str, ...] = get_args(TemplateSet)

Mode = Literal["full", "quick", "soak"]
"""How long a device measures (targets/length.py), or `bench` times each case (bench/side_by_side.py)."""
MODES: tuple[str, ...] = get_args(Mode)
