"""The configurations that ship with HazeHeal, one a file: `hazeheal train --config=NAME`.

A package, so that an editable install finds it as `hazeheal.configs` too.
"""
