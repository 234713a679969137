"""What plugins of each kind promise, as classes of tests to inherit."""
