"""`python -m pipeline` does the same as the console script `imdb-pipeline`."""

import sys

from pipeline.entry import main

if __name__ == "__main__":
    sys.exit(main())
