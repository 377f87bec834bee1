"""One family of measures a file; each function registers itself, and its docstring is the catalogue's entry."""
