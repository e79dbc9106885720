"""Every table and figure of the paper from records of runs: grids, cells, records, tables, claims. The protocol is docs/protocol.md."""
