"""The only part that touches the broker and the vendors."""
