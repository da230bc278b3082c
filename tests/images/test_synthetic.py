"""A folder of images that were made: its own files are no images, its record is believed or refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tiny_images import FOUR_CLASSES, write_photos

from edgedistill.errors import InputError
from edgedistill.images.pool import scan
from edgedistill.images.synthetic import MOST_OF_A_PHOTO, RECORD, SHEET, Made, made_in, records_in
from edgedistill.labels import Label, Labels

LABELS = Labels(tuple(Label(name) for name in FOUR_CLASSES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images of the third class, all but the last in the record as kept; a sheet, which is an image, too."""
    photos = write_photos(tmp_path / "made", 6)
    images = [
        {
            "class": FOUR_CLASSES[2],
            "kept": number < 5,
            "weight": 0.5,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for number, path in enumerate(sorted(photos.iterdir()))
    ]
    (photos / RECORD).write_text(json.dumps({"images": images}))
    write_photos(tmp_path / "other", 1, seed=5)
    (tmp_path / "other" / "00000.jpg").rename(photos / SHEET)
    return photos


def test_record_and_sheet_are_no_images_where_both_are_and_only_there(folder: Path) -> None:
    assert len(scan(folder)) == 6
    assert scan(folder).skipped == {}
    (folder / RECORD).unlink()
    assert len(scan(folder)) == 7  # a photo of that name in a folder of photos


def test_images_are_known_by_their_content_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    (folder / "00003.jpg").unlink()
    (folder / "00000.jpg").rename(folder / "another name.jpg")
    write_photos(folder / "photos", 4, seed=7)
    above = tmp_path / "above"
    above.mkdir()
    folder.rename(above / "made")
    pool, made = scan(above), made_in(above, LABELS)
    assert made is not None
    assert made.among(pool.hashes).sum() == 4
    weights, classes = made.row_facts(pool.hashes)
    assert sorted(classes.tolist()) == [-1] * 5 + [2] * 4
    assert weights.tolist() == [0.5 if of == 2 else 1.0 for of in classes]


def test_records_are_found_as_deep_as_the_images_and_behind_links(folder: Path, tmp_path: Path) -> None:
    nest = tmp_path / "nest" / "of photos" / "more"
    nest.mkdir(parents=True)
    write_photos(nest / "photos", 2, seed=7)
    (nest / "made").symlink_to(folder)
    (nest / "made again").symlink_to(folder)
    (nest / "itself").symlink_to(nest / "itself")
    above = tmp_path / "nest"
    pool, made = scan(above), made_in(above, LABELS)
    assert made is not None
    assert made.among(pool.hashes).sum() == 5
    assert len(pool) == 6 + 2
    assert records_in(above) == [nest / "made" / RECORD]
    assert records_in(tmp_path / "nothing") == []


def test_few_photos_count_together_as_much_as_all_that_was_made_but_none_counts_for_a_crowd(
    folder: Path, tmp_path: Path
) -> None:
    photos = write_photos(folder / "photos", 2, seed=7)
    made = made_in(folder, LABELS)
    assert made is not None
    hashes = scan(folder).hashes
    facts = {content: (of, 4.0) for content, (of, _) in made.facts.items()}
    assert Made(facts).row_facts(hashes)[0][~made.among(hashes)].tolist() == pytest.approx([20 / 3] * 3)
    (photos / "00001.jpg").unlink()
    facts = {content: (of, 100.0) for content, (of, _) in made.facts.items()}
    hashes = scan(folder).hashes
    assert set(Made(facts).row_facts(hashes)[0][~made.among(hashes)]) == {MOST_OF_A_PHOTO}


def test_a_class_that_is_not_on_the_list_is_unknown(folder: Path) -> None:
    made = made_in(folder, Labels(tuple(Label(name) for name in FOUR_CLASSES[:2])))
    assert made is not None
    assert set(made.row_facts(scan(folder).hashes)[1]) == {-1}


@pytest.mark.parametrize("text", ["", "[]", '{"images": [{"kept": true}]}', '{"images": 3}'])
def test_a_damaged_record_is_named(folder: Path, text: str) -> None:
    (folder / RECORD).write_text(text)
    with pytest.raises(InputError, match=r"synthesis.json is damaged: .*\nSynthesize anew, or delete it"):
        made_in(folder, LABELS)


@pytest.mark.parametrize("weight", [-1, 10**400, 1e300, "1", True, None])
def test_a_weight_that_no_image_can_have_is_damage(folder: Path, weight: object) -> None:
    record = json.loads((folder / RECORD).read_text())
    record["images"][0]["weight"] = weight
    (folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"synthesis.json is damaged: a weight is"):
        made_in(folder, LABELS)


def test_photos_have_no_record(tmp_path: Path) -> None:
    assert made_in(write_photos(tmp_path / "photos", 2), LABELS) is None
