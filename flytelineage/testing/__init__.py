"""Doubles of what flytelineage talks to: small, real, and made to fail on demand."""
