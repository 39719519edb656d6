//! The client that joins a Janus audiobridge room (seed 000).
