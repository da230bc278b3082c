"""From class names to images: where there are no photos."""
