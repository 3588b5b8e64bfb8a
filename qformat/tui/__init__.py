"""Look inside model files in a terminal; a skin over the same functions that the command line calls."""
