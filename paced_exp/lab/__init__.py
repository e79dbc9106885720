"""The lab: small models that solve part of a set of arithmetic problems. They need no network and load like any model of the hub."""
