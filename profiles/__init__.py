"""One TOML a board."""
