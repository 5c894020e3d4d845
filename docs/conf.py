"""Sphinx: these pages, and the API from the docstrings. ``sphinx-build -W docs docs/_build``."""

import ssfe

project = "ssfe"
version = release = ssfe.__version__
copyright = "The ssfe authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ssfe {version}"

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
