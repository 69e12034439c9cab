"""Checks that take too long for CI or need other compilers, emulators or interpreters. See docs/hardening.md."""
