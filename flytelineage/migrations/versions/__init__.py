"""One module per revision, frozen once it is released."""
