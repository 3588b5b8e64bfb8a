"""How plugins are found, loaded and asked; what they give is known to the floors that ask.

Entry points of the group ``qformat`` and single Python files are modules with functions marked
`hookimpl`. They load when something is first asked of them, one after the other, each on its own:
what fails, hangs or prints is that plugin's row in ``qformat plugins`` and stops nothing else.
"""

from qformat.plugins.hooks import API_VERSION, hookimpl

__all__ = ["API_VERSION", "hookimpl"]
