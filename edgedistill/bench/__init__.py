"""Any models, timed side by side on this machine."""
