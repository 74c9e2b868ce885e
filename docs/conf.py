"""How the documentation is built: sphinx-build -W docs build/docs, or make docs."""

from pathlib import Path

from widemargin import __version__

project = "widemargin"
author = "The widemargin authors"
copyright = "The widemargin authors, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
exclude_patterns = ["images", "gallery"]
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"exclude-members": "set_score_request"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",  # made from them, in no commit
    "filename_pattern": r"^(?!.*/integrations/)",  # those are shown; each needs an extra, and is run with it alone
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_",),
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "default_thumb_file": str(Path(__file__).parent / "images" / "report.png"),
}

html_theme = "furo"
html_title = f"widemargin {version}"
html_copy_source = False
html_use_index = html_domain_indices = False  # the page of public names is one, and fits small screens
linkcheck_ignore = [r"https?://"]
