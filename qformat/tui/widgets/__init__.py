"""Widgets drawn by the TUI itself; they show and post, and compute nothing."""
