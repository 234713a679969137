"""Contracts: classes of tests to inherit, one for each kind of plugin. Handed out by `libws_core.testing`."""
