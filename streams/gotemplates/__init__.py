"""Go's text/template as Alertmanager's users write it: a bounded subset, read, checked and rendered here. Pure.

Whoever may edit the configuration may write templates, and labels come from anywhere: a rendering is bounded in steps,
output and depth, patterns are RE2's, and nothing reaches beyond the data given. What is not supported is refused when
the text is read, with its line. Source of the language: pkg.go.dev/text/template; of the data and functions:
prometheus.io/docs/alerting/latest/notifications.
"""

from streams.gotemplates.errors import TemplateError
from streams.gotemplates.library import Library, library
from streams.gotemplates.values import data

__all__ = ["Library", "TemplateError", "data", "library"]
