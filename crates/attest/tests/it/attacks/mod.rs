//! What must be refused.

mod attestation_key;
mod bus;
mod credential;
mod endorsement;
mod event_log;
mod quote;
mod relay;
mod replay;
mod sealing;
