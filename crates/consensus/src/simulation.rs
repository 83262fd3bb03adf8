//! The same validator on the engine's deterministic runtime and simulated network.
