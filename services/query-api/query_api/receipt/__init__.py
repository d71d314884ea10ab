"""Where is my event? Found from the stages' positions; nothing is stored per event."""
