"""Reports of runs and studies as one page, and logging of media."""
