//! The client among nodes that lie.

mod attack_lying_nodes;
mod crooked;
