"""A trained generator in use: pictures of any size, files, videos, and how good the result is."""
