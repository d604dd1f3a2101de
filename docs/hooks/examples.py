"""An extension of griffe: a docstring's section "Example:" is its section "Examples:"."""

import re
from typing import Any

from griffe import Extension, Object

_HEAD = re.compile(r"^Example:$", re.MULTILINE)


class Examples(Extension):
    """Lets examples be shown as code."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rename the section as soon as the object is read."""
        if obj.docstring is not None:
            obj.docstring.value = _HEAD.sub("Examples:", obj.docstring.value)
