"""All studies, in a file for each: what a file here calls ``STUDY`` is found, run, described and written.

``StudyName`` of ``config/schema.py`` lists what a recipe may ask for; nothing else takes notice of a new one.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from evaluation.study import Study

STUDIES: dict[str, Study] = {
    module.name: import_module(f"{__name__}.{module.name}").STUDY for module in iter_modules(__path__)
}
