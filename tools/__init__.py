"""What is checked by hand because it is long or needs Debian's packages: `python -m tools`. See docs/hardening.md."""
