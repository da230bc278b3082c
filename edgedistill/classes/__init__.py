"""From class names to class vectors."""
