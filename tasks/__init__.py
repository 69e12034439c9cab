"""What is checked by hand because it is long or needs Debian's packages: `python -m tasks`. See docs/hardening.md."""
