"""Where a bundle is run."""
