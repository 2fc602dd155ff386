"""All departures from New York in January 2013, enriched record by record: Swarm's example application.

The public record (27,004 flights) ships with the example, see data/README.md. The modules, from pure to wired:
records (types), reference (tables loaded before the fork), geodesy and sun (arithmetic), enrich (one flight in, one
enriched flight out), delays (aggregation of the output), source (the input, in order), single_process (the same work
in one process, to compare with), produce (fills the topic), app (the swarm application).
"""
