"""A bundle: what it holds, how it is written."""
