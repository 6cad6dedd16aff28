"""Leaves: things that know nothing of mail, files or protocols, and import nothing of ours."""
