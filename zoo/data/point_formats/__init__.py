"""Readers and writers of point files, one format a file; none of them needs more than numpy."""
