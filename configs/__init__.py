"""Included configurations, one per file: `hazeheal train --config=NAME`.

This is a package so that an editable install finds it as `hazeheal.configs`.
"""
