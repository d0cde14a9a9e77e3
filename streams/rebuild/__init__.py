"""Builds the parts of an index anew from what was kept elsewhere (a topic, the archive), beside the ones in use, and
puts them in their place. A part is replaced only when the new one holds no fewer documents."""
