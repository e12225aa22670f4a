"""The command-line programs behind `tools/` and the console scripts."""
