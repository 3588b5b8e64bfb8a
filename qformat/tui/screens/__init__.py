"""The screens, one for each thing to look at."""
