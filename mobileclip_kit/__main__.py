"""``python -m mobileclip_kit`` is ``mckit``."""

from mobileclip_kit.cli import main

if __name__ == "__main__":
    main()
