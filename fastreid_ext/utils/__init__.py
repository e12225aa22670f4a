"""Small helpers without knowledge of re-identification."""
