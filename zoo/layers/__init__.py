"""Modules around the operators, of which the networks are made."""
