"""The page itself: its markup, style and script, and what puts them together."""
