"""Keeps what runs on the pretended device out of the process of all other tests."""

import os

collect_ignore = [] if os.environ.get("HOPMASK_PRETEND_DEVICE") else ["inside"]
