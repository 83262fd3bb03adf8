//! The sandbox from outside: guests that behave, guests that do not, and workers that were taken over.

mod attack_confinement;
mod attack_limits;
mod attack_modules;
mod attack_pointers;
mod attack_worker;
mod behaviour;
mod determinism;
mod guests;
mod support;
