"""Photos: the pool, its views, their pixels, and what repeats a check image."""
