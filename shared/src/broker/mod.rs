//! Where things are on the broker.
