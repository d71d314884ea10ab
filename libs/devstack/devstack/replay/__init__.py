"""The Complete Journey purchases as a live stream of events, with the faults real producers have."""
