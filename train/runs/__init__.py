"""A run on disk and on the command line: its folder, what is kept there, what goes on after a kill, how it fails."""
