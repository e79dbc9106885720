"""The lab: small models that really solve and really fail real problems, offline, through the same loader as any hub model."""
