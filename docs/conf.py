"""How the documentation is built: sphinx-build -W docs build/docs, or make docs."""

from widemargin import __version__

project = "widemargin"
author = "The widemargin authors"
copyright = "The widemargin authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
exclude_patterns = ["images"]
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"exclude-members": "set_score_request"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"widemargin {version}"
html_copy_source = False
linkcheck_ignore = [r"https?://"]
