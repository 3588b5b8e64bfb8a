"""File formats behind one small protocol; `qformat.files.opening.open_checkpoint` is the way in."""
