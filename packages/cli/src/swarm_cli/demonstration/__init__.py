"""The demo: real records through a real swarm, one node killed half-way, every record counted."""
