"""Bytes on disk: frames, columns, groups and locks; knows nothing of mail or protocols."""
