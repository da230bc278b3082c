"""The image half of the example teacher: an ImageNet tower moved into the text half's space of meanings.

    pictures -> views (crops, sketches, cartoons ...) -> front half of the tower, frozen -> features on disk
    features on disk -> back half + head, trained towards captions -> image vector [512]

The tower is MobileNet-EdgeTPU. Two things stand between its weights and a plain timm model that open_clip builds by
name: SAME padding, which at 193 px is the same as timm's own (every stride-2 layer sees an odd size), and a ReLU that
timm has after the first block's 1x1 convolution and the original has not (`plain_tower`).
The front half never changes, so it runs once a view; all training happens in the back half, on a 13 x 13 map.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from safetensors.torch import load_file
from teacher_styles import STYLES, Mask, Picture
from torch import Tensor, nn
from torch.nn import functional as fn

log = logging.getLogger("demo_teacher")

TIMM_NAME, SIZE, FRONT = "mobilenet_edgetpu_100", 193, 5  # FRONT: blocks[:5] are the frozen front half
BLOCK = 40  # photos a cached file
# How far the back half moves from the ImageNet tower to what training made of it (WiSE-FT, Wortsman 2022). On trashnet,
# where texture counts, all the way cost 5 points and half the way none; pacs_cartoon gained 5 either way.
KEEP = 0.5
# A share of each channel's deepest value, see plain_tower. Top-1 on 400 general photos, 0.77 for the reference: 0.73
# with this; 0.60 with the ReLU as it is, and with the whole range lifted (the border, where zeros are padded, suffers).
LIFT = 0.4


def normalise(pictures: NDArray[np.uint8], dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 [N,S,S,3] -> [N,3,S,S] in -1..1, channels last in memory."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def reference_tower(weights: Path) -> nn.Module:
    """The tower as it was trained; timm needs both patches for it."""
    model = timm.create_model(TIMM_NAME, pad_type="same")
    state = load_file(weights / "mobilenet_edgetpu_100/model_fp16.safetensors")
    model.load_state_dict({name: value.float() for name, value in state.items()})
    model.blocks[0][0].bn1.act = nn.Identity()
    return model.eval()


@torch.no_grad()
def plain_tower(reference: nn.Module, pictures: NDArray[np.uint8]) -> nn.Module:
    """`reference` as an unpatched timm model, nearly the same function on `pictures` [N,193,193,3].

    timm's first block ends in a ReLU the original lacks. Lifting each channel by part of its deepest value before the
    ReLU and taking the lift out again in the next layer's bias lets most negative values through. `tune_front` does
    the rest.
    """
    lows: list[Tensor] = []
    watch = reference.blocks[0][0].register_forward_hook(lambda _m, _i, out: lows.append(out.amin(dim=(0, 2, 3))))
    for part in np.array_split(pictures, max(len(pictures) // 16, 1)):
        reference.blocks[0](reference.bn1(reference.conv_stem(normalise(part))))
    watch.remove()
    lift = LIFT * (-torch.stack(lows).amin(0)).clamp(min=0)
    plain = timm.create_model(TIMM_NAME)
    plain.load_state_dict(reference.state_dict())
    after = plain.blocks[1][0]
    plain.blocks[0][0].bn1.bias += lift
    gain = after.bn1.weight / torch.sqrt(after.bn1.running_var + after.bn1.eps)
    after.bn1.bias -= (after.conv_exp.weight.sum((2, 3)) @ lift) * gain
    return plain.eval()


def tune_front(plain: nn.Module, reference: nn.Module, pictures: NDArray[np.uint8], *, steps: int, seed: int) -> None:
    """Train the first two stages of `plain` to give what those of `reference` give, on `pictures` [N,193,193,3]."""

    def front(tower: nn.Module, x: Tensor) -> Tensor:
        return tower.blocks[1](tower.blocks[0](tower.bn1(tower.conv_stem(x))))

    draw = np.random.default_rng(seed)
    with torch.no_grad():
        spread = front(reference, normalise(pictures[:32])).std((0, 2, 3), keepdim=True)
    optimizer = torch.optim.Adam([*plain.blocks[0].parameters(), *plain.blocks[1].parameters()])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        batch = pictures[draw.integers(len(pictures), size=8)]
        x = normalise(batch[:, :, ::-1] if step % 2 else batch)
        with torch.no_grad():
            goal = front(reference, x)
        loss = (((front(plain, x) - goal) / spread) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            log.info("front %d/%d: %.3f of the variance is missed", step, steps, loss.item())


def front_half(tower: nn.Module) -> nn.Module:
    return nn.Sequential(tower.conv_stem, tower.bn1, *tower.blocks[:FRONT])


def back_half(tower: nn.Module) -> nn.Module:
    """[N,96,13,13] -> [N,1280]. Shares the tower's parameters: train it, and the tower is trained."""
    return nn.Sequential(*tower.blocks[FRONT:], tower.conv_head, tower.bn2, nn.AdaptiveAvgPool2d(1), nn.Flatten())


# ---- views -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Photo:
    """A training picture: `group` says which source, `label` is its class folder or its line in captions.jsonl."""

    path: Path
    group: str
    label: str


def centre(path: Path, size: int = SIZE) -> Picture:
    image = Image.open(path).convert("RGB")
    side, (width, height) = min(image.size), image.size
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


# What each picture is shown as. "other" draws one of painting (half the time), night, blur, grey.
PLANS = {
    "imagenet1k_one_each": ("clean", "crop", "sketch", "cartoon", "cut out", "sketch", "other", "crop"),
    "grocery": ("clean", "crop", "sketch", "cartoon"),
    "renders": ("clean", "jitter", "jitter"),
}


def view(photo: Photo, style: str, mask: Mask, rng: Generator) -> Picture:
    """`photo` cropped (never for "clean"), flipped half the time, then drawn in `style`. `mask` is of the centre."""
    if style == "clean":
        return centre(photo.path)
    image = Image.open(photo.path).convert("RGB")
    (width, height), full = image.size, min(image.size)
    side = full * np.sqrt(rng.uniform({"crop": 0.35, "jitter": 0.6}.get(style, 0.65), 1))
    corner = np.array([(width - full) / 2, (height - full) / 2])
    if style in ("crop", "jitter"):
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
    else:  # stay in the centre square: the mask knows nothing else
        x, y = corner + rng.uniform(0, 1, 2) * (full - side)
    image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
    if style == "jitter":  # other floors and lamps than those seen
        image = image.rotate(int(rng.integers(4)) * 90)
        for enhance, low, high in ((ImageEnhance.Brightness, 0.5, 1.6), (ImageEnhance.Contrast, 0.5, 1.6),
                                   (ImageEnhance.Color, 0.0, 1.6)):  # fmt: skip
            image = enhance(image).enhance(rng.uniform(low, high))
    picture = np.asarray(image)
    box = np.clip(np.array([x, y, x + side, y + side]) - np.tile(corner, 2), 0, full) * SIZE / full
    mask = np.asarray(Image.fromarray(mask).resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=tuple(box)))
    if rng.random() < 0.5:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    picture, mask = np.ascontiguousarray(picture), np.ascontiguousarray(mask)
    return STYLES[style][0](picture, rng, mask if rng.random() < 0.6 else None) if style in STYLES else picture


@torch.inference_mode()
def object_masks(tower: nn.Module, maps: Tensor) -> NDArray[np.float32]:
    """[N,193,193] in 0..1: where the tower sees the class it bets on (class activation map, Zhou 2016)."""
    features = tower.bn2(tower.conv_head(tower.blocks[FRONT:](maps)))
    best = tower.classifier(features.mean((2, 3))).argmax(1)
    cam = torch.einsum("nchw,nc->nhw", features.float(), tower.classifier.weight[best].float())
    cam = (cam - cam.amin((1, 2), keepdim=True)) / (cam.amax((1, 2), keepdim=True) - cam.amin((1, 2), keepdim=True))
    cam = fn.interpolate(cam.nan_to_num(0)[:, None], size=(SIZE, SIZE), mode="bicubic", align_corners=False)[:, 0]
    return torch.sigmoid(12 * (cam - 0.35)).numpy()


def cache_views(tower: nn.Module, photos: list[Photo], cache: Path, *, seed: int) -> None:
    """Front-half maps of every view, float16, in blocks `NNNN.npy` + `NNNN.json`; a block that is there is done."""
    cache.mkdir(parents=True, exist_ok=True)
    half = copy.deepcopy(tower).bfloat16().to(memory_format=torch.channels_last)
    began = time.monotonic()
    for number in range(-(-len(photos) // BLOCK)):
        if not (cache / f"{number:04d}.json").exists():
            cache_block(half, photos, number, cache, seed=seed)
            log.info("views of %d/%d, %.0f s", (number + 1) * BLOCK, len(photos), time.monotonic() - began)


@torch.inference_mode()
def cache_block(tower: nn.Module, photos: list[Photo], number: int, cache: Path, *, seed: int) -> None:
    """Block `number` of `cache_views`; `tower` is in bfloat16. Depends on nothing but its number and the seed."""
    draw, front = np.random.default_rng((seed, number)), front_half(tower)
    first = number * BLOCK
    chosen = photos[first : first + BLOCK]
    masks = object_masks(tower, front(normalise(np.stack([centre(p.path) for p in chosen]), torch.bfloat16)))
    rows, pictures = [], []
    for i, (photo, mask) in enumerate(zip(chosen, masks, strict=True)):
        for style in PLANS[photo.group]:
            if style == "other":
                style = str(draw.choice(["painting", "painting", "painting", "night", "blur", "grey"]))
            pictures.append(view(photo, style, mask, draw))
            rows.append({"photo": first + i, "style": style})
    parts = [pictures[k : k + 40] for k in range(0, len(pictures), 40)]
    maps = [front(normalise(np.stack(part), torch.bfloat16)).float().numpy() for part in parts]
    np.save(cache / f"{number:04d}.npy", np.concatenate(maps).astype(np.float16))
    (cache / f"{number:04d}.json").write_text(json.dumps(rows), encoding="utf-8")


def read_views(cache: Path) -> tuple[Tensor, list[dict[str, Any]]]:
    """All maps [n,96,13,13] float16, and for each the number of its photo and its style."""
    blocks = sorted(cache.glob("*.json"))
    maps = torch.cat([torch.from_numpy(np.load(done.with_suffix(".npy"))) for done in blocks])
    return maps, [row for done in blocks for row in json.loads(done.read_text(encoding="utf-8"))]


# ---- from tower features to meanings ---------------------------------------------------------------------------------


class Meaning(nn.Module):
    """What a picture means, by the ImageNet classifier alone: ConSE plus a linear map, centred. A fixed function of
    the tower's features, [N,1280] -> [N,512] unit.

    ConSE (Norouzi 2014) averages class meanings by probability; it knows only classes. The linear map, ridge
    regression from classifier rows and labelled photos, also hears what the classes do not say. Taking off the mean
    over the broad pool (`features` [P,1280], the reference tower's) keeps words near it from winning everywhere.
    `classes` [1000,512]; `labels` [P], the photos' ImageNet classes or -1.
    """

    def __init__(self, classifier: nn.Linear, classes: Tensor, features: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.classifier = copy.deepcopy(classifier).requires_grad_(False)
        self.classes, self.middle, known = classes, features.mean(0), labels >= 0
        weight = self.classifier.weight
        rows = torch.cat([fn.normalize(weight - weight.mean(0), dim=-1), self.unit(features[known])])
        goals = torch.cat([classes, classes[labels[known]]])
        self.ridge = torch.linalg.solve(rows.T @ rows + torch.eye(rows.shape[1]), rows.T @ goals)
        self.mean = torch.zeros(classes.shape[1])
        self.mean = self._raw(features).mean(0)

    def unit(self, features: Tensor) -> Tensor:
        return fn.normalize(features - self.middle, dim=-1)

    def conse(self, features: Tensor) -> Tensor:
        return fn.normalize(self.classifier(features).softmax(1) @ self.classes, dim=-1)

    def _raw(self, features: Tensor) -> Tensor:
        return fn.normalize(self.conse(features) + fn.normalize(self.unit(features) @ self.ridge, dim=-1), dim=-1)

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        return fn.normalize(self._raw(features) - self.mean, dim=-1)


def conse_head(meaning: Meaning, features: Tensor, threshold: float = 3.0) -> nn.Module:
    """open_clip's MLP head (1280 -> 1024 -> 512), started as ConSE. Hidden unit c is gelu(logit c - threshold):
    like a softmax, it lets only the few likely classes through. Unit 1000 is constant and takes the mean off."""
    from timm.layers import Mlp

    classes, classifier = meaning.classes, meaning.classifier
    head = Mlp(1280, 2 * classes.shape[1], classes.shape[1], bias=(True, False))
    with torch.no_grad():
        head.fc1.weight.mul_(0.1)
        head.fc2.weight.mul_(0.1)
        head.fc1.weight[: len(classes)] = classifier.weight
        head.fc1.bias.zero_()
        head.fc1.bias[: len(classes)] = classifier.bias - threshold
        head.fc2.weight[:, : len(classes)] = classes.T
        head.fc1.weight[len(classes)], head.fc1.bias[len(classes)] = 0, 3.0
        head.fc2.weight[:, len(classes)] = -meaning.conse(features).mean(0) / 3.0
    return head


@torch.no_grad()
def even_out(head: nn.Module, features: Tensor, *, strength: float = 0.5, floor: float = 0.1) -> None:
    """Fold into the head's last layer what makes image vectors of the broad pool differ more evenly in all directions.

    `features` [P,1280] are the finished tower's. A fifth of the vectors' variance lies along one direction, so that
    the words which lie along it win too often. What follows the last layer is (covariance / its mean eigenvalue +
    floor) ** (-strength / 2): 0 leaves it alone, 1 whitens it. No label takes part. With 0.5, top-1 among the 1,000
    names of the pool's own ImageNet photos rose from 0.64 to 0.74, on trashnet by half a point, on pacs_cartoon by one.
    """
    u = fn.normalize(head(features), dim=-1)
    spread, directions = torch.linalg.eigh(torch.cov(u.T))
    gain = (spread / spread.mean() + floor) ** (-strength / 2)
    even = directions @ torch.diag(gain) @ directions.T
    head.fc2.weight.copy_(even @ head.fc2.weight)  # the layer has no bias


@torch.inference_mode()
def tower_features(tower: nn.Module, photos: list[Photo]) -> Tensor:
    """[N,1280]: the pooled features of every photo's centre view."""
    found = []
    for part in (photos[k : k + 50] for k in range(0, len(photos), 50)):
        maps = tower.forward_features(normalise(np.stack([centre(photo.path) for photo in part])))
        found.append(tower.forward_head(maps, pre_logits=True))
    return torch.cat(found).clone()


# ---- training --------------------------------------------------------------------------------------------------------


@dataclass
class Photos:
    """Views of the broad pool. `maps` float16 [n,96,13,13]; `photo` [n]: which photo a view is of; `style` [n,512]:
    what its style adds to its meaning; `features` [P,1280]: the reference tower's, of each photo's centre view."""

    maps: Tensor
    photo: Tensor
    style: Tensor
    features: Tensor


@dataclass
class Parts:
    """Views of captioned renders: `goals` [n,512] unit, what each should become; `family` [n] and the `names` [F,512]
    of all families, from which each must be told."""

    maps: Tensor
    goals: Tensor
    family: Tensor
    names: Tensor

    def loss(self, rows: Tensor, u: Tensor) -> Tensor:
        told_apart = fn.cross_entropy(20 * u @ self.names.T, self.family[rows])
        return 5 * (1 - (u * self.goals[rows]).sum(1)).mean() + 0.5 * told_apart


def teach_head(
    tower: nn.Module, head: nn.Module, meaning: Meaning, photos: Photos, parts: Parts, *, steps: int, seed: int
) -> None:
    """The head alone, on the features of the tower as it is.

    No photo's label is in the loss: with one photo a class, cross-entropy on names is learned by heart (it cost 7
    points on trashnet). Instead the head must say what `meaning` says, of photos and of mixtures of their features
    (mixup, which fills the space between 1,645 photos), and what the captions say of parts.
    """
    back, draw = back_half(tower.to(memory_format=torch.channels_last).eval()), np.random.default_rng(seed)
    with torch.inference_mode():
        fixed = [torch.cat([back(_layout(part)) for part in maps.split(64)]) for maps in (photos.maps, parts.maps)]
    photo_features, part_features = (features.clone() for features in fixed)
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        rows = torch.from_numpy(draw.integers(len(photo_features), size=192))
        part_rows = torch.from_numpy(draw.integers(len(part_features), size=64))
        mixed, goal = _mixtures(photo_features[rows], photos.style[rows], meaning, draw)
        u = fn.normalize(head(torch.cat([mixed, part_features[part_rows]])), dim=-1)
        loss = 0.75 * 5 * (1 - (u[:192] * goal).sum(1)).mean() + 0.25 * parts.loss(part_rows, u[192:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            log.info("head %d/%d: loss %.3f", step, steps, loss.item())


def train_back_half(
    tower: nn.Module, head: nn.Module, meaning: Meaning, photos: Photos, parts: Parts, *, steps: int, seed: int
) -> None:
    """Back half and head together: a drawn, cut or cropped view must give the features, hence the meaning, that the
    reference tower gives the untouched photo; parts, what their captions say. Of the moving average, KEEP is kept."""
    back, draw = back_half(tower.to(memory_format=torch.channels_last).eval()), np.random.default_rng(seed)
    says, looks = meaning(photos.features), meaning.unit(photos.features)
    before, average = copy.deepcopy((back, head)), copy.deepcopy((back, head))
    groups = [{"params": list(module.parameters())} for module in (back, head)]
    optimizer, began = torch.optim.AdamW(groups, weight_decay=0.02), time.monotonic()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-4, total_steps=steps, pct_start=0.1)
    of_photos, of_parts = 48, 16
    for step in range(steps):
        rows = torch.from_numpy(draw.integers(len(photos.maps), size=of_photos))
        part_rows = torch.from_numpy(draw.integers(len(parts.maps), size=of_parts))
        features = back(_layout(torch.cat([photos.maps[rows], parts.maps[part_rows]])))
        own, photo, style = features[:of_photos], photos.photo[rows], photos.style[rows]
        mixed, mixed_goal = _mixtures(own.detach(), style, meaning, draw)
        u = fn.normalize(head(torch.cat([features, mixed])), dim=-1)
        goal = fn.normalize(says[photo] + style, dim=-1)
        same_meaning = 5 * (1 - (u[:of_photos] * goal).sum(1)).mean()
        same_features = 3 * (1 - (meaning.unit(own) * looks[photo]).sum(1)).mean()
        as_before = 5 * (1 - (u[of_photos + of_parts :] * mixed_goal).sum(1)).mean()
        taught = parts.loss(part_rows, u[of_photos : of_photos + of_parts])
        optimizer.zero_grad()
        (same_meaning + same_features + 0.5 * as_before + 0.4 * taught).backward()
        nn.utils.clip_grad_norm_([*back.parameters(), *head.parameters()], 1.0)
        optimizer.step()
        schedule.step()
        _move(average, (back, head), 1 - min(0.99, (1 + step) / (10 + step)))
        if step % 50 == 0:
            losses = (same_meaning, same_features, as_before, taught)
            shown = " ".join(f"{value.item():.2f}" for value in losses)
            log.info("image %d/%d: %s, %.0f s", step, steps, shown, time.monotonic() - began)
    _move(before, average, KEEP)
    for module, kept in zip((back, head), before, strict=True):
        module.load_state_dict(kept.state_dict())


def _layout(maps: Tensor) -> Tensor:
    return maps.float().contiguous(memory_format=torch.channels_last)


def _mixtures(features: Tensor, style: Tensor, meaning: Meaning, draw: Generator) -> tuple[Tensor, Tensor]:
    """Each row mixed with another, and what the mixture means: [n,1280], [n,512] unit. Half the rows stay pure."""
    count = len(features)
    share = torch.from_numpy(np.where(draw.random(count) < 0.5, draw.random(count), 1.0)).float()[:, None]
    other = torch.from_numpy(draw.permutation(count))
    mixed = share * features + (1 - share) * features[other]
    return mixed, fn.normalize(meaning(mixed) + share * style + (1 - share) * style[other], dim=-1)


@torch.no_grad()
def _move(modules: tuple[nn.Module, ...], others: tuple[nn.Module, ...], share: float) -> None:
    """Move every parameter `share` of the way to its counterpart."""
    for module, other in zip(modules, others, strict=True):
        for a, b in zip(module.parameters(), other.parameters(), strict=True):
            a.lerp_(b, share)
