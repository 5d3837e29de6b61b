"""``python -m bertx.cli`` is the same as ``bertx``."""

from bertx.cli import main

if __name__ == "__main__":
    main()
