"""How a build keeps its work, and shows it."""
