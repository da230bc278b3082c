"""All that touches CLIP: its files, its licence, its towers, and what it thought of every view."""
