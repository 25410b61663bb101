-- Delegations below one that was ended are looked up by what they descend from.
CREATE INDEX nodes_parent ON nodes (parent);
