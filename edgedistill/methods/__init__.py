"""One file a method: a loss, its defaults, its docstring."""
