//! The binary as its users meet it: transcripts, and the whole story on four real processes.

mod harness;

mod guests;
mod transcripts;
mod trying;
