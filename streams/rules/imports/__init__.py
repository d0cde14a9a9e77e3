"""Rules of other programs -> rule documents of ours (docs/rules.md).

What cannot be said here is refused with the reason and its line, never weakened.
"""
