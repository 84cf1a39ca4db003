"""Reports of runs, from their directories alone: tables for the terminal, a page for the browser."""
