//! The binary as its users meet it: transcripts, and the whole story on four real processes.

mod harness;

mod attack_node;
mod guests;
mod story;
mod transcripts;
mod trying;
