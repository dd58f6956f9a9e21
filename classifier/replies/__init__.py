"""What a body with a success status tells of a failure, where it tells of one. The door is `failing`.

`shapes` asks what a wrapper plainly says (`ok: false`), `weighing` weighs all members of a reply together, `lists`
reads errors in place of rows, `documents` XML. Each reads names by `names` and `wrapping`, sentences by `complaints`.
"""
